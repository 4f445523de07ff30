"""Exported models: the classes of torch by onnxruntime, no key in a plain file, nothing plain beside a sealed one."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmseg.models.utils import Upsample
from mmseg.registry import MODELS
from torch import nn

from helpers import ROOT
from helpers.exported import save
from helpers.small_configs import small_config
from helpers.small_models import shrink
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.errors import CheckpointError, ConfigError, ImageFormatError, OutputError, WrongKeyError
from mmseg_keyprotect.export import ExportedModel, export_onnx
from mmseg_keyprotect.export.any_size import AveragingMatrices, SymbolicUpsample
from mmseg_keyprotect.export.comparison import compare
from mmseg_keyprotect.export.graph import SegmentationGraph
from mmseg_keyprotect.images import Encryptor, read_image
from mmseg_keyprotect.models.segmentors import KeyedMixin
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.sealing import is_sealed_file, unseal_file

CONFIGS = ROOT / 'configs'
onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('models')


@pytest.fixture(scope='module')
def owner(folder):
    from mmseg_keyprotect.keys import SecretKey

    key = SecretKey.from_bytes(bytes(range(32)))
    key.save(folder / 'test.key')
    return key, dict(type='KeyFile', path=str(folder / 'test.key'))


@pytest.fixture(scope='module')
def plain(folder):
    return save(Config(small_config('.')), folder)


@pytest.fixture(scope='module')
def bound(plain, folder, owner):
    """A model whose images are encrypted, exported for any size."""
    config, checkpoint = protect_checkpoint(*plain, folder / 'bound', key=owner[1])
    cfg = load_quietly(config)
    cfg.model.data_preprocessor.key = owner[1]
    found = export_onnx(cfg, str(checkpoint), folder / 'bound.onnx', logits=True)
    return folder / 'bound.onnx', found


@pytest.fixture(scope='module')
def features(plain, folder, owner):
    """The configuration and the checkpoint of a model whose feature maps are encrypted, and its images."""
    config, checkpoint = protect_checkpoint(
        *plain, folder / 'features', key=owner[1], features=dict(stages='all', cipher=dict(type='FeatureShuffle'))
    )
    cfg = load_quietly(config)
    cfg.model.data_preprocessor.key = owner[1]
    return cfg, str(checkpoint)


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (70, 101, 3), dtype=np.uint8)


def of_mmseg(plain, image):
    """Return the classes that MMSegmentation's own function gives a plain image."""
    from mmseg.apis import inference_model, init_model

    model = init_model(load_quietly(plain[0]), str(plain[1]), device='cpu')
    return inference_model(model, image[..., ::-1].copy()).pred_sem_seg.data[0].numpy()


def test_encrypted_images_get_the_masks_of_plain_ones(bound, plain, owner, picture):
    model = ExportedModel.open(bound[0])
    whole = picture[:68, :100]
    wanted = of_mmseg(plain, whole)
    inner = np.s_[16:-16, 16:-16]  # the border around the image is grey, and not the mean colour
    assert len(np.unique(wanted)) > 1
    assert (model.predict(Encryptor(owner[0]).encrypt(whole)[0])[inner] == wanted[inner]).all()
    assert (model.predict(whole)[inner] != wanted[inner]).any()


def test_what_the_file_says_and_does_not_say(bound, owner):
    path, found = bound
    about = ExportedModel.open(path).about
    assert about['key_id'] == owner[0].key_id
    assert about['cipher'] == 'shuffle+negative-positive/M=4'
    assert (about['block_size'], about['classes'], len(about['palette'])) == (4, ['road', 'car', 'sky'], 3)
    content = path.read_bytes()
    assert bytes(range(32)) not in content
    for text in (str(ROOT), 'site-packages', '.py'):
        assert text.encode() not in content, text
    assert {one.size for one in found} == {(96, 192), (288, 100)}
    assert all(one.same > 0.999 for one in found)


def test_logits_and_batches(bound, picture):
    model = ExportedModel.open(bound[0])
    images = np.stack([picture[:64, :96], picture[4:68, 5:101]])
    masks, logits = model.session.run(None, dict(image=images))
    assert (masks.shape, masks.dtype, logits.shape) == ((2, 64, 96), np.uint8, (2, 3, 64, 96))
    assert (logits.argmax(1) == masks).all()


def test_encrypted_feature_maps_are_written_sealed_only(features, owner, other_key, folder, tmp_path, picture):
    with pytest.raises(ConfigError, match=r'holds their key.*--seal'):
        export_onnx(*features, tmp_path / 'plain.onnx')
    assert not list(tmp_path.iterdir())
    path = tmp_path / 'sealed.onnx'
    export_onnx(*features, path, size=(64, 96), seal=owner[0])
    assert is_sealed_file(path)
    with pytest.raises(WrongKeyError):
        ExportedModel.open(path, other_key)
    opened = ExportedModel.open(path, owner[0])
    encrypted = Encryptor(owner[0]).encrypt(picture[:64, :96])[0]
    images_alone = ExportedModel.open(folder / 'bound.onnx')
    assert (opened.predict(encrypted) == images_alone.predict(encrypted)).mean() > 0.999


@pytest.mark.slow
def test_transforms_that_cannot_be_folded_are_in_the_graph(owner, tmp_path):
    features = dict(stages=(3,), cipher=dict(type='FeatureBlockShuffle', block_size=2))
    cfg = Config(protected(small_config('.'), None, key=owner[1], features=features))
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), tmp_path / 'model.pth')
    found = export_onnx(cfg, str(tmp_path / 'model.pth'), tmp_path / 'sealed.onnx', size=(64, 96), seal=owner[0])
    assert all(one.same > 0.999 for one in found)


def test_a_wrong_fold_is_found(features, owner, tmp_path, monkeypatch):
    def wrong(self):
        self.decode_head.conv_seg.weight.data.mul_(-1)

    monkeypatch.setattr(KeyedMixin, 'fold', wrong)
    monkeypatch.setattr(KeyedMixin, 'unfold', wrong)
    with pytest.raises(ConfigError, match='Expected the exported model to give the classes'):
        export_onnx(*features, tmp_path / 'sealed.onnx', size=(64, 96), seal=owner[0])
    assert not list(tmp_path.iterdir())


def test_encrypted_feature_maps_cost_the_graph_nothing(features, bound, owner, tmp_path):
    """The transforms are in the weights: the graph has the operators of that without them."""
    export_onnx(*features, tmp_path / 'sealed.onnx', seal=owner[0], logits=True)
    unseal_file(tmp_path / 'sealed.onnx', tmp_path / 'plain.onnx', owner[0])
    graphs = [onnx.load(path).graph for path in (tmp_path / 'plain.onnx', bound[0])]
    there, here = (Counter(node.op_type for node in graph.node) for graph in graphs)
    assert there == here


def test_a_fixed_size_and_its_errors(plain, tmp_path, picture):
    cfg = load_quietly(plain[0])
    found = export_onnx(cfg, str(plain[1]), tmp_path / 'plain.onnx', size=(64, 96), images=[picture[:64, :96]])
    assert [one.size for one in found] == [(64, 96)]
    model = ExportedModel.open(tmp_path / 'plain.onnx')
    assert model.about['key_id'] is None
    assert (model.predict(picture[:64, :96]) == of_mmseg(plain, picture[:64, :96])).all()
    for image in (picture, picture[:64, :96].astype(np.float32), picture[:64, :96, 0]):
        with pytest.raises(ImageFormatError, match='64 x 96 x 3, uint8'):
            model.predict(image)
    with pytest.raises(OutputError):
        export_onnx(cfg, str(plain[1]), tmp_path / 'plain.onnx', size=(64, 96))


def test_images_of_another_size_than_blocks(bound, picture):
    with pytest.raises(ImageFormatError, match='a multiple of 4 x a multiple of 4 x 3'):
        ExportedModel.open(bound[0]).predict(picture)


@pytest.mark.parametrize(
    ('change', 'size', 'found'),
    [
        (dict(mode='slide', crop_size=(32, 32), stride=(16, 16)), None, "'slide'.*test_cfg.mode=whole"),
        (dict(mode='whole'), (30, 32), 'multiples of 4.*30 x 32'),
    ],
)
def test_what_is_refused(change, size, found, features, owner, tmp_path):
    cfg = Config(dict(features[0]))
    cfg.model.test_cfg = change
    with pytest.raises(ConfigError, match=found):
        export_onnx(cfg, features[1], tmp_path / 'model.onnx', size=size, seal=owner[0])
    assert not list(tmp_path.iterdir())


def test_no_file_that_gives_other_classes(bound, plain, tmp_path):
    other = MODELS.build(load_quietly(plain[0]).model).eval()
    with pytest.raises(ConfigError, match=r'of an image of 64 x 64 pixels .*%'):
        compare(SegmentationGraph(other, True), ExportedModel.open(bound[0]), [np.zeros((64, 64, 3), np.uint8)] * 2)


@pytest.mark.parametrize('content', [b'', b'no model', onnx.ModelProto().SerializeToString()])
def test_files_that_hold_no_model(content, tmp_path):
    (tmp_path / 'other.onnx').write_bytes(content)
    with pytest.raises(CheckpointError, match=r'keyprotect export'):
        ExportedModel.open(tmp_path / 'other.onnx')


@pytest.mark.parametrize(
    'about', ['{}', '[1]', 'x', '{"block_size": 0}', '{"block_size": "a"}', '{"block_size": 1e99}']
)
def test_hostile_metadata(about, bound, tmp_path):
    model = onnx.load(bound[0])
    model.metadata_props[0].value = about
    onnx.save(model, tmp_path / 'other.onnx')
    with pytest.raises(CheckpointError, match='keyprotect export'):
        ExportedModel.open(tmp_path / 'other.onnx')


def test_logits_that_are_not_finite(bound, plain, picture):
    graph = SegmentationGraph(MODELS.build(load_quietly(plain[0]).model).eval(), True)
    with torch.no_grad():
        graph.model.decode_head.conv_seg.bias.fill_(float('inf'))
    with pytest.raises(ConfigError, match='Expected the exported model to give the classes'):
        compare(graph, ExportedModel.open(bound[0]), [picture[:64, :96]])


def test_running_a_model_needs_no_torch(bound):
    code = (
        'import sys\n'
        'for name in ("torch", "mmengine", "mmcv", "mmseg"):\n'
        '    sys.modules[name] = None\n'
        'from mmseg_keyprotect.export import ExportedModel\n'
        f'print(ExportedModel.open({str(bound[0])!r}).about["cipher"])\n'
    )
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert done.stdout == 'shuffle+negative-positive/M=4\n', done.stderr


@pytest.mark.parametrize('size', [(1, 2), (3, 6), (6, 5)])
@pytest.mark.parametrize('shape', [(6, 6), (7, 13), (20, 5)])
def test_pooling(size, shape):
    x = torch.rand(2, 3, *shape, dtype=torch.float64)
    assert torch.allclose(AveragingMatrices(size)(x), nn.AdaptiveAvgPool2d(size)(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize('scale', [2, 4, 1.5])
def test_upsampling(scale):
    x, plain = torch.rand(2, 3, 6, 7), Upsample(scale_factor=scale, mode='bilinear', align_corners=False)
    assert torch.equal(SymbolicUpsample(plain)(x), plain(x))


@pytest.mark.slow
def test_one_output_channel_and_padding(tmp_path):
    config = small_config('.', classes=2, out_channels=1, threshold=0.5)
    config['model']['data_preprocessor']['test_cfg'] = dict(size_divisor=32)
    plain = save(Config(config), tmp_path)
    image = np.random.default_rng(2).integers(0, 256, (50, 75, 3), dtype=np.uint8)
    export_onnx(load_quietly(plain[0]), str(plain[1]), tmp_path / 'binary.onnx', images=[image])
    wanted = of_mmseg(plain, image)
    assert 0 < wanted.mean() < 1
    assert (ExportedModel.open(tmp_path / 'binary.onnx').predict(image) == wanted).mean() > 0.999


@pytest.mark.slow
def test_images_that_ffx_encrypts(owner, tmp_path, picture):
    cfg, cipher = Config(small_config('.')), dict(type='FFX', block_size=4)
    cfg.model.data_preprocessor.update(type='KeyedSegDataPreProcessor', cipher=cipher, key=owner[1])
    model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'ffx.pth')
    found = export_onnx(
        cfg, str(tmp_path / 'ffx.pth'), tmp_path / 'ffx.onnx', size=(64, 96), images=[picture[:64, :96]]
    )
    assert [one.same for one in found] == [pytest.approx(1, abs=1e-3)]
    encrypted = Encryptor(owner[0], cipher).encrypt(picture[:64, :96])[0]
    assert encrypted.dtype == np.uint16
    exported = ExportedModel.open(tmp_path / 'ffx.onnx')
    assert exported.predict(encrypted).shape == (64, 96)
    with pytest.raises(ImageFormatError, match='uint16'):
        exported.predict(picture[:64, :96])


def test_the_command(folder, plain, owner, bound, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(folder / 'test.key'))
    words = [str(folder / 'bound' / 'plain.py'), str(folder / 'bound' / 'plain.pth')]
    before = set(tmp_path.iterdir())
    assert main(['export', *words, '-o', str(tmp_path / 'model.onnx'), '--size', '32', '64', '--seal']) == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / 'model.onnx'}
    assert is_sealed_file(tmp_path / 'model.onnx')
    shown = capsys.readouterr()
    assert '32 x 64 pixels: ' in shown.out
    assert 'of the classes are those of torch' in shown.out
    assert shown.err == ''


ARCHITECTURES = {
    'segformer/segformer_mit-b0_1xb8-0.4k_camvid-160x160.py': 4,
    'pspnet/pspnet_r18-d8_1xb8-0.7k_camvid-160x160.py': 4,
    'deeplabv3plus/deeplabv3plus_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160.py': 4,
    'setr/setr_vit-s14_naive_1xb8-0.2k_camvid-168x168.py': 14,
    'mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-512x1024.py': 4,
}


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'block_size'), ARCHITECTURES.items())
def test_architectures_on_real_images(name, block_size, owner, tmp_path, real_data):
    photos = sorted(Path(real_data('camvid/images/val')).iterdir())[:3]
    cfg = load_quietly(name if '::' in name else CONFIGS / name)
    plain = save(shrink(cfg) if '::' in name else cfg, tmp_path)
    cipher = [dict(type=one, block_size=block_size) for one in ('Shuffle', 'NegativePositive')]
    config, checkpoint = protect_checkpoint(*plain, tmp_path / 'bound', key=owner[1], cipher=cipher)
    protected = load_quietly(config)
    protected.model.data_preprocessor.key = owner[1]
    images = [read_image(photo)[: 14 * 20, : 14 * 30] for photo in photos]
    found = export_onnx(protected, str(checkpoint), tmp_path / 'model.onnx', images=images)
    print(name, [one.same for one in found])
    assert min(one.same for one in found) > 0.999
