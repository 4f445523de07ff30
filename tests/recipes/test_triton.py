"""Triton's configuration of an exported model, read by Triton's own schema and compared with onnxruntime."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

from helpers import ROOT
from helpers.markdown import blocks
from helpers.small_configs import small_config
from mmseg_keyprotect.errors import CheckpointError, ConfigError, OutputError, SealedFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import KeyRecipient, seal_file, seal_folder, unseal_file

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('onnx')

SERVING = ROOT / 'examples' / 'serving'
sys.path.insert(0, str(SERVING))

from triton_repository import MAX_BATCH_SIZE, write_repository  # noqa: E402

from mmseg_keyprotect.export import export_onnx  # noqa: E402
from mmseg_keyprotect.protection import protect_checkpoint  # noqa: E402

pytestmark = pytest.mark.slow  # four exports; `make test-recipes` has them too
KEY = SecretKey.from_bytes(bytes(range(32)))


@pytest.fixture(scope='module')
def models(tmp_path_factory):
    """Exported files: of any size with encrypted images, of a fixed size with logits or uint16, of many classes."""
    folder = tmp_path_factory.mktemp('models')
    init_default_scope('mmseg')
    KEY.save(folder / 'my.key')
    key = dict(type='KeyFile', path=str(folder / 'my.key'))
    for name, classes in (('few', 3), ('many', 300)):
        cfg = Config(small_config('.', classes=classes))
        cfg.dump(folder / f'{name}.py')
        torch.manual_seed(0)
        torch.save(dict(meta={}, state_dict=MODELS.build(cfg.model).state_dict()), folder / f'{name}.pth')
    config, checkpoint = protect_checkpoint(folder / 'few.py', folder / 'few.pth', folder / 'bound', key=key)
    cfg = Config.fromfile(config)
    cfg.model.data_preprocessor.key = key
    export_onnx(cfg, str(checkpoint), folder / 'encrypted.onnx')
    export_onnx(Config.fromfile(folder / 'few.py'), str(folder / 'few.pth'), folder / 'fixed.onnx', (64, 96), True)
    cfg = Config.fromfile(folder / 'few.py')
    cipher = dict(type='FFX', block_size=4)
    cfg.model.data_preprocessor.update(type='KeyedSegDataPreProcessor', cipher=cipher, key=key)
    torch.save(dict(meta={}, state_dict=MODELS.build(cfg.model).state_dict()), folder / 'ffx.pth')
    export_onnx(cfg, str(folder / 'ffx.pth'), folder / 'ffx.onnx', (64, 96))
    export_onnx(Config.fromfile(folder / 'many.py'), str(folder / 'many.pth'), folder / 'many.onnx')
    return folder


WANTED = {
    'encrypted': [('image', 'TYPE_UINT8', [-1, -1, 3]), ('mask', 'TYPE_UINT8', [-1, -1])],
    'fixed': [
        ('image', 'TYPE_UINT8', [64, 96, 3]),
        ('mask', 'TYPE_UINT8', [64, 96]),
        ('logits', 'TYPE_FP32', [3, 64, 96]),
    ],
    'ffx': [('image', 'TYPE_UINT16', [64, 96, 3]), ('mask', 'TYPE_UINT8', [64, 96])],
    'many': [('image', 'TYPE_UINT8', [-1, -1, 3]), ('mask', 'TYPE_INT32', [-1, -1])],
}


@pytest.mark.parametrize('name', WANTED)
def test_the_configuration_by_tritons_schema(name, models, tmp_path):
    pytest.importorskip('tritonclient.grpc', reason='needs tritonclient[grpc]: make test-recipes')
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

    path = write_repository(models / f'{name}.onnx', tmp_path / 'repository', max_batch_size=4)
    config = text_format.Parse(path.read_text(), ModelConfig())
    assert (config.name, config.backend, config.max_batch_size) == ('segmenter', 'onnxruntime', 4)
    tensors = [*config.input, *config.output]
    assert [(one.name, DataType.Name(one.data_type), list(one.dims)) for one in tensors] == WANTED[name]

    session = onnxruntime.InferenceSession(path.parent / '1' / 'model.onnx')
    assert [one.name for one in config.input] == [one.name for one in session.get_inputs()]
    assert [one.name for one in config.output] == [one.name for one in session.get_outputs()]
    for one, real in zip(tensors, [*session.get_inputs(), *session.get_outputs()], strict=True):
        assert DataType.Name(one.data_type) == tritons_name(real.type)
        assert isinstance(real.shape[0], str)  # as Triton's backend demands of every tensor
        assert list(one.dims) == [side if isinstance(side, int) else -1 for side in real.shape[1:]]
    about = json.loads(config.parameters['mmseg-keyprotect'].string_value)
    assert about == json.loads(session.get_modelmeta().custom_metadata_map['mmseg-keyprotect'])
    assert about['key_id'] == (KEY.key_id if name in ('encrypted', 'ffx') else None)


def test_a_batch(models):
    """The largest batch of the configuration gives the logits of its images."""
    session = onnxruntime.InferenceSession(models / 'fixed.onnx')
    images = np.random.default_rng(0).integers(0, 256, (MAX_BATCH_SIZE, 64, 96, 3), dtype=np.uint8)
    (together,) = session.run(['logits'], {'image': images})
    alone = [session.run(['logits'], {'image': image[None]})[0][0] for image in images]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-4)


def tritons_name(kind):
    """Return what Triton's client calls a type of onnxruntime."""
    from tritonclient.utils import np_to_triton_dtype

    word = kind.removeprefix('tensor(').removesuffix(')')
    return 'TYPE_' + np_to_triton_dtype(np.dtype('float32' if word == 'float' else word).type)


def test_the_layout_and_a_sealed_repository(models, tmp_path):
    """The files that Triton reads are the same after sealing and unsealing the repository."""
    repository = tmp_path / 'repository'
    words = [str(SERVING / 'triton_repository.py'), str(models / 'encrypted.onnx'), str(repository), '--name', 'seg_1']
    done = subprocess.run([sys.executable, *words], cwd=ROOT, env={'PYTHONPATH': str(ROOT)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    seal_folder(repository, tmp_path / 'sealed', [KeyRecipient(KEY)])
    shutil.rmtree(repository)
    unseal_file(tmp_path / 'sealed', repository, KEY)
    files = sorted(path.relative_to(repository).as_posix() for path in repository.rglob('*') if path.is_file())
    assert files == ['seg_1/1/model.onnx', 'seg_1/config.pbtxt']
    assert (repository / 'seg_1' / '1' / 'model.onnx').read_bytes() == (models / 'encrypted.onnx').read_bytes()


def test_the_page_shows_what_is_written(models, tmp_path):
    path = write_repository(models / 'encrypted.onnx', tmp_path / 'repository')
    (shown,) = (one.text for one in blocks(ROOT / 'docs' / 'export.md') if one.text.startswith('name: '))
    assert path.read_text().startswith(shown)


def test_what_is_refused(models, tmp_path):
    seal_file(models / 'many.onnx', tmp_path / 'sealed.onnx', [KeyRecipient(KEY)])
    with pytest.raises(SealedFileError, match='keyprotect unseal'):
        write_repository(tmp_path / 'sealed.onnx', tmp_path / 'repository')
    with pytest.raises(CheckpointError):
        write_repository(models / 'few.pth', tmp_path / 'repository')
    for wrong in (dict(name='../seg'), dict(name='a"b'), dict(name=''), dict(max_batch_size=0)):
        with pytest.raises(ConfigError, match='Expected a name'):
            write_repository(models / 'many.onnx', tmp_path / 'repository', **wrong)
    assert not (tmp_path / 'repository').exists()
    (tmp_path / 'repository').mkdir()
    with pytest.raises(OutputError):
        write_repository(models / 'many.onnx', tmp_path / 'repository')
