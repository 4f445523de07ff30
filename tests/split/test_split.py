"""A model in two parts: the masks of the whole, a public part without secrets, and a private part that is sealed."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from helpers.private_side import CLASSES, save_private_side
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import (
    CheckpointError,
    ConfigError,
    FeatureMessageError,
    ImageFormatError,
    SealedFileError,
    WrongKeyError,
)
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly
from mmseg_keyprotect.sealing import KeyRecipient, is_sealed_file, unseal_file
from mmseg_keyprotect.split import FeatureMessage, PrivatePart, PublicPart, split_model

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('split')


@pytest.fixture(scope='module')
def owner(folder):
    key = SecretKey.from_bytes(bytes(range(32)))
    key.save(folder / 'test.key')
    return key


@pytest.fixture(scope='module')
def saved(folder):
    cfg, checkpoint = save_private_side(folder)
    cfg.dump(folder / 'config.py')
    return cfg, checkpoint


@pytest.fixture(scope='module')
def parts(saved, folder, owner):
    """The folder with both parts, made by the command."""
    words = ['split', folder / 'config.py', saved[1], '-o', folder / 'parts', '--key-file', folder / 'test.key']
    assert main([*map(str, words)]) == 0
    return folder / 'parts'


@pytest.fixture(scope='module')
def both(parts, owner):
    return PublicPart.open(parts / 'public' / 'backbone.onnx'), PrivatePart.open(parts / 'private.sealed', owner)


def image(height, width):
    return np.random.default_rng(height).integers(256, size=(height, width, 3), dtype=np.uint8)


def whole_mask(saved, picture):
    model = build_model(saved[0])
    load_strictly(model, torch.load(saved[1], weights_only=True)['state_dict'])
    batch = dict(inputs=[torch.from_numpy(picture[..., ::-1].transpose(2, 0, 1).copy())])
    with torch.no_grad():
        logits = model(model.data_preprocessor(batch, False)['inputs'], mode='tensor')
        logits = torch.nn.functional.interpolate(logits, picture.shape[:2], mode='bilinear', align_corners=False)
    return logits[0].argmax(0).numpy()


@pytest.mark.parametrize('size', [(64, 64), (96, 160), (75, 131)])
def test_both_parts_give_the_masks_of_the_whole(both, saved, size):
    public, private = both
    picture = image(*size)
    mask = private.predict(FeatureMessage.from_bytes(public.features(picture).to_bytes(compressed=True)))
    expected = whole_mask(saved, picture)
    assert mask.shape == size
    assert len(np.unique(expected)) > 1
    assert (mask == expected).mean() > 0.99  # float16 between the parts


def test_the_parts_hold_what_they_should(parts, saved, folder, owner):
    """The public file holds no private weight, and the folder holds nothing private in plain."""
    state = torch.load(saved[1], weights_only=True)['state_dict']
    unseal_file(parts / 'private.sealed', folder / 'private.onnx', owner)
    files = {name: (folder / name).read_bytes() for name in ('parts/public/backbone.onnx', 'private.onnx')}
    for secret in ('decode_head.conv_seg.weight', 'neck.corrections.3.weight'):
        weight = state[secret].numpy().tobytes()
        assert weight in files['private.onnx']
        assert weight not in files['parts/public/backbone.onnx']
        assert weight not in (parts / 'private.sealed').read_bytes()
    held = sum(int(np.prod(one.dims)) for one in onnx.load(folder / 'private.onnx').graph.initializer)
    assert held < 1.05 * sum(tensor.numel() for tensor in state.values())  # nothing of the backbone
    assert is_sealed_file(parts / 'private.sealed')
    assert sorted(str(one.relative_to(parts)) for one in parts.rglob('*') if one.is_file()) == [
        'private.sealed',
        'public/backbone.onnx',
    ]


def test_the_private_part_says_its_classes(both):
    assert both[1].about['classes'] == list(CLASSES)
    assert 'classes' not in both[0].about


def test_another_key_opens_nothing(parts, other_key):
    with pytest.raises(WrongKeyError):
        PrivatePart.open(parts / 'private.sealed', other_key)


def test_one_part_is_not_taken_for_the_other(parts):
    content = (parts / 'public' / 'backbone.onnx').read_bytes()
    with pytest.raises(CheckpointError, match='it is the public part'):
        PrivatePart(content)


def test_feature_maps_of_another_image_are_refused(both):
    public, private = both
    features = public.features(image(96, 160)).features
    for wrong in (
        FeatureMessage((64, 64), features),
        FeatureMessage((96, 160), features[1:]),
        FeatureMessage((96, 160), [feature.astype(np.float32) for feature in features]),
        FeatureMessage((2**20, 2**20), features),
    ):
        with pytest.raises(FeatureMessageError, match='Expected feature maps of shapes|at most 4194304 pixels'):
            private.predict(wrong)


@pytest.mark.parametrize('wrong', [np.zeros((64, 64), np.uint8), np.zeros((64, 64, 3), np.float32)])
def test_other_images_are_refused(both, wrong):
    with pytest.raises(ImageFormatError, match='Expected an image of H x W x 3, uint8'):
        both[0].features(wrong)


def test_a_fixed_size_with_padding_in_float32(folder, owner):
    """The public part pads as MMSegmentation does in a test, and the mask is that of the image."""
    other = folder / 'padded'
    other.mkdir()
    cfg, checkpoint = save_private_side(other)
    cfg.model.data_preprocessor.test_cfg = dict(size_divisor=32)
    recipients = [KeyRecipient(owner)]
    found = split_model(cfg, str(checkpoint), other / 'parts', recipients, size=(50, 70), dtype='float32')
    assert [(one.size, one.same) for one in found] == [((50, 70), 1)]
    public = PublicPart.open(other / 'parts' / 'public' / 'backbone.onnx')
    private = PrivatePart.open(other / 'parts' / 'private.sealed', owner)
    message = public.features(image(50, 70))
    assert next(feature.shape for feature in message.features) == (8, 64 // 4, 96 // 4)
    assert {feature.dtype for feature in message.features} == {np.dtype(np.float32)}
    assert private.predict(message).shape == (50, 70)
    with pytest.raises(ImageFormatError, match='Expected an image of 50 x 70 pixels, but got 64 x 96'):
        public.features(image(64, 96))
    with pytest.raises(FeatureMessageError, match='Expected an image of 50 x 70 pixels, but got 64 x 96'):
        private.predict(FeatureMessage((64, 96), message.features))


def test_no_variable_of_an_error_holds_the_private_part(saved, folder, owner, monkeypatch):
    """A folder that cannot be written is found last, when both parts are in memory."""
    import traceback

    from mmseg_keyprotect.split import writing

    kept = []

    def failing(*args, **kwargs):
        kept.append(args[1].private)
        raise ConfigError('They differ.')

    monkeypatch.setattr(writing, 'compare', failing)
    with pytest.raises(ConfigError, match='They differ') as caught:
        split_model(saved[0], str(saved[1]), folder / 'failed', [KeyRecipient(owner)], size=(64, 64))
    assert kept
    frames = [
        frame
        for frame, _ in traceback.walk_tb(caught.value.__traceback__)
        if 'mmseg_keyprotect' in frame.f_code.co_filename
    ]
    assert not [name for frame in frames for name in ('private', 'public', 'model', 'graph') if name in frame.f_locals]
    assert not (folder / 'failed').exists()


def test_nobody_to_seal_for_is_refused(saved, folder):
    with pytest.raises(SealedFileError, match='but got none'):
        split_model(saved[0], str(saved[1]), folder / 'nobody', [])


def test_what_has_no_private_side_is_refused(saved, folder, owner):
    cfg = saved[0].copy()
    cfg.model = dict(cfg.model, type='EncoderDecoder')
    with pytest.raises(ConfigError, match='Expected a configuration of a PrivateSideSegmentor, but got EncoderDecoder'):
        split_model(cfg, str(saved[1]), folder / 'none', [KeyRecipient(owner)])
    assert not (folder / 'none').exists()


def test_the_parts_run_without_torch(parts, folder):
    code = (
        'import sys, numpy as np\n'
        'from mmseg_keyprotect.keys import SecretKey\n'
        'from mmseg_keyprotect.split import FeatureMessage, PrivatePart, PublicPart\n'
        f'public = PublicPart.open({str(parts / "public" / "backbone.onnx")!r})\n'
        f'private = PrivatePart.open({str(parts / "private.sealed")!r}, SecretKey.load({str(folder / "test.key")!r}))\n'
        'message = public.features(np.zeros((64, 64, 3), np.uint8))\n'
        'print(private.predict(message).shape)\n'
        "print([name for name in ('torch', 'mmengine', 'mmseg') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert done.stdout.splitlines() == ['(64, 64)', '[]'], done.stderr
