"""Exported models that cut the mask to the true size of the image themselves, run by onnxruntime."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

from helpers.exported import save
from helpers.small_configs import small_config
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.errors import CheckpointError, ConfigError, ImageFormatError
from mmseg_keyprotect.export import ExportedModel, export_onnx
from mmseg_keyprotect.export.comparison import compare
from mmseg_keyprotect.export.graph import SegmentationGraph
from mmseg_keyprotect.export.onnx_export import _load
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.models.preprocessor import swaps_channels
from mmseg_keyprotect.protection import protect_checkpoint

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def owner(tmp_path_factory):
    from mmseg_keyprotect.keys import SecretKey

    path = tmp_path_factory.mktemp('key') / 'test.key'
    key = SecretKey.from_bytes(bytes(range(32)))
    key.save(path)
    return key, dict(type='KeyFile', path=str(path))


@pytest.fixture(scope='module')
def bound(owner, tmp_path_factory):
    """The configuration and the checkpoint of a model whose images are encrypted."""
    folder = tmp_path_factory.mktemp('models')
    config, checkpoint = protect_checkpoint(*save(Config(small_config('.')), folder), folder / 'bound', key=owner[1])
    cfg = load_quietly(config)
    cfg.model.data_preprocessor.key = owner[1]
    return cfg, str(checkpoint), config


@pytest.fixture(scope='module')
def exported(bound, tmp_path_factory):
    """The paths of files for any size and for one, with the cut and without."""
    folder = tmp_path_factory.mktemp('exported')
    for name, size, true_size in (('any', None, True), ('one', (72, 104), True), ('uncut', None, False)):
        found = export_onnx(*bound[:2], folder / name, size, True, true_size=true_size)
        assert all(one.same > 0.999 for one in found)
    return folder


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (70, 101, 3), dtype=np.uint8)


def graph_of(bound):
    """The model in torch, as it is exported."""
    model, cipher, _ = _load(*bound[:2])
    return SegmentationGraph(model, (cipher.channel_order == 'rgb') != swaps_channels(model.data_preprocessor)).eval()


def in_torch(bound, encrypted, size):
    """The classes and the logits of torch, cut here."""
    with torch.no_grad():
        mask, logits = graph_of(bound).predict(torch.from_numpy(encrypted)[None])
    return mask[0, : size[0], : size[1]].numpy(), logits[..., : size[0], : size[1]].numpy()


@pytest.mark.parametrize('name', ['any', 'one'])
def test_the_graph_cuts(name, exported, bound, owner, picture):
    encrypted, note = Encryptor(owner[0]).encrypt(picture)
    assert (encrypted.shape, note['size']) == ((72, 104, 3), [70, 101])
    model = ExportedModel.open(exported / name)
    assert model.cuts
    wanted, logits = in_torch(bound, encrypted, note['size'])
    mask = model.predict(encrypted, size=note['size'])
    assert (mask.shape, mask.dtype) == ((70, 101), np.uint8)
    assert len(np.unique(wanted)) > 1
    assert (mask == wanted).mean() > 0.999
    inputs = dict(image=encrypted[None], size=np.array([70, 101]))
    masks, found = model.session.run(['mask', 'logits'], inputs)  # by another program: nothing is cut there
    assert (masks[0] == mask).all()
    assert np.abs(found - logits).max() < 1e-3 * logits.std()
    assert [one.shape[1:] for one in model.session.get_outputs()] == [['height', 'width'], [3, 'height', 'width']]


def test_the_same_call_without_the_input(exported, owner, picture):
    encrypted, note = Encryptor(owner[0]).encrypt(picture)
    uncut, model = ExportedModel.open(exported / 'uncut'), ExportedModel.open(exported / 'any')
    assert [one.name for one in uncut.session.get_inputs()] == ['image']
    assert not uncut.cuts
    whole = uncut.predict(encrypted)
    assert whole.shape == (72, 104)
    for size in (note['size'], tuple(note['size']), np.array(note['size']), [np.int64(70), 101], (1, 1), (72, 104)):
        wanted = whole[: size[0], : size[1]]
        assert (uncut.predict(encrypted, size) == wanted).all()
        assert (model.predict(encrypted, size) == wanted).all()
    assert (model.predict(encrypted) == whole).all()


@pytest.mark.parametrize('name', ['any', 'one', 'uncut'])
@pytest.mark.parametrize(
    'size',
    [
        (73, 101),
        (70, 105),
        (0, 101),
        (70, -1),
        (70.0, 101.0),
        np.array([70.0, 101.0]),
        np.array([[70, 101]]),
        np.array(70),
        (True, True),
        (70,),
        (70, 101, 3),
        ('70', '101'),
        [[70], [101, 3]],
        '70',
        70,
    ],
)
def test_bad_sizes(name, size, exported, owner, picture):
    encrypted = Encryptor(owner[0]).encrypt(picture)[0]
    with pytest.raises(ImageFormatError, match='integers from 1 to 72 and 104.*Give that of the image before'):
        ExportedModel.open(exported / name).predict(encrypted, size)


def test_batches(exported, picture):
    images = np.stack([picture[:64, :96], picture[4:68, 5:101]])
    model = ExportedModel.open(exported / 'any')
    masks, logits = model.session.run(None, dict(image=images, size=np.array([61, 95])))
    assert (masks.shape, logits.shape) == ((2, 61, 95), (2, 3, 61, 95))
    assert (logits.argmax(1) == masks).all()


def test_a_graph_that_cuts_otherwise_is_found(exported, bound, tmp_path, picture):
    model = onnx.load(exported / 'any')
    (axes,) = (one for one in model.graph.initializer if one.name == 'mask_axes')
    axes.CopyFrom(onnx.helper.make_tensor('mask_axes', onnx.TensorProto.INT64, [2], [2, 1]))
    onnx.save(model, tmp_path / 'other')
    graph = graph_of(bound)
    image = picture[:64, :96].copy()
    assert compare(graph, ExportedModel.open(exported / 'any'), [image])
    with pytest.raises((ConfigError, RuntimeError)):
        compare(graph, ExportedModel.open(tmp_path / 'other'), [image])


def test_files_with_other_inputs(exported, tmp_path):
    for shape, kind, name in (([3], 7, 'size'), ([2], 6, 'size'), ([2], 7, 'other')):
        model = onnx.load(exported / 'any')
        del model.graph.input[1]
        model.graph.input.append(onnx.helper.make_tensor_value_info('size', onnx.TensorProto.INT64, [2]))
        model.graph.input[1].CopyFrom(onnx.helper.make_tensor_value_info('size', kind, shape))
        if name == 'other':
            model.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, shape))
        onnx.save(model, tmp_path / 'other')
        with pytest.raises(CheckpointError, match='keyprotect export'):
            ExportedModel.open(tmp_path / 'other')


def test_the_command(bound, owner, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', owner[1]['path'])
    words = [str(bound[2]), bound[1], '-o', str(tmp_path / 'model.onnx'), '--size', '32', '64', '--true-size']
    assert main(['export', *words]) == 0
    assert '32 x 64 pixels: ' in capsys.readouterr().out
    assert ExportedModel.open(tmp_path / 'model.onnx').cuts
