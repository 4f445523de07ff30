"""Files that are not three channels of 8 bits: TIFF, alpha, four bands, 16 bits, arrays, greyscale."""

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmseg.registry import TRANSFORMS

from helpers.segmentors import bind, build, cipher_config, keyed_config, pair, plain_config, stirred
from helpers.versions import TORCH
from mmseg_keyprotect.errors import ImageFormatError, KeyProtectError, WeakCipherError

RNG = np.random.default_rng(0)
FOUR = RNG.integers(0, 256, (64, 64, 4), dtype=np.uint8)
DEEP = RNG.integers(0, 65536, (64, 64, 3)).astype(np.uint16)
DARK = RNG.integers(0, 200, (64, 64, 3)).astype(np.uint16)
BLOCKS_OF_8 = [dict(type='Shuffle', block_size=8), dict(type='NegativePositive', block_size=8)]


def load(path, **options):
    """Load a file as MMSegmentation's test pipeline does, and return a batch of it."""
    steps = [
        dict(type='LoadImageFromFile', **options),
        dict(type='PackSegInputs', meta_keys=('ori_shape', 'img_shape')),
    ]
    return lambda: pseudo_collate([Compose([TRANSFORMS.build(step) for step in steps])(dict(img_path=str(path)))])


def predict(model, batch):
    with torch.no_grad():
        return model.test_step(batch())[0].seg_logits.data


def assert_exact(models, batch):
    expected, got = (predict(model, batch) for model in models)
    assert expected.std() > 1e-2
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


def write(path, image):
    assert cv2.imwrite(str(path), image)
    return path


FILES = {
    'open-mmlab/mmsegmentation#279, TIFF': ('image.tif', FOUR[..., :3], {}),
    'open-mmlab/mmsegmentation#3472, TIFF with alpha': ('image.tif', FOUR, {}),
    'SakuraRiven/EAST#61, PNG with alpha': ('image.png', FOUR, {}),
    'rmurai0610/MASt3R-SLAM#48, PNG with alpha, Pillow': ('image.png', FOUR, dict(imdecode_backend='pillow')),
    'open-mmlab/mmsegmentation#2303, 16 bits, reduced by the loader': ('image.png', DEEP, {}),
}


@pytest.mark.parametrize('report', FILES)
def test_files_that_become_three_channels_of_8_bits(report, key_file, tmp_path):
    name, image, options = FILES[report]
    assert_exact(pair(), load(write(tmp_path / name, image), **options))


@pytest.mark.parametrize('name', ['image.png', 'image.tif'])
def test_four_bands(name, key_file, tmp_path):
    """open-mmlab/mmsegmentation#3567 (CMYK) and #2351: `color_type='unchanged'`, `in_channels=4`."""
    cfg = plain_config(norm=dict(mean=[100.0, 110.0, 120.0, 130.0], std=[50.0] * 4), in_channels=4)
    plain = stirred(cfg)
    models = plain, bind(build(keyed_config(cfg)), plain.state_dict())
    assert_exact(models, load(write(tmp_path / name, FOUR), color_type='unchanged'))


@pytest.mark.parametrize('image', [DEEP, DARK], ids=['bright', 'dark'])
@pytest.mark.parametrize('to_float32', [False, True])
def test_16_bits(image, to_float32, key_file, tmp_path):
    """open-mmlab/mmsegmentation#2921: the plain model takes them; the protected one refuses them by name.

    Dark images as floating point hold what 8 bits can hold, and are exact.
    """
    models = pair()
    batch = load(write(tmp_path / 'image.png', image), color_type='unchanged', to_float32=to_float32)
    if to_float32 or TORCH >= (2, 7):  # before, torch cannot turn BGR into RGB in an image of 16 bits
        predict(models[0], batch)
    if to_float32 and image is DARK:
        assert_exact(models, batch)
        return
    with pytest.raises(ImageFormatError, match='8-bit image|values from 0 to 255'):
        predict(models[1], batch)


class TestArrays:
    """open-mmlab/mmsegmentation#3474 and #1240: a loader of the user's own reads .npy."""

    def batch(self, image, tmp_path):
        np.save(tmp_path / 'image.npy', image)
        image = np.load(tmp_path / 'image.npy')
        step = TRANSFORMS.build(dict(type='PackSegInputs', meta_keys=('ori_shape', 'img_shape')))
        return lambda: pseudo_collate([step(dict(img=image, ori_shape=(64, 64), img_shape=(64, 64)))])

    @pytest.mark.parametrize('dtype', [np.uint8, np.float32, np.float64, np.float16])
    def test_8_bits_in_any_type(self, dtype, key_file, tmp_path):
        assert_exact(pair(), self.batch(FOUR[..., :3].astype(dtype), tmp_path))

    @pytest.mark.parametrize('image', [FOUR[..., :3] / 255, FOUR[..., :3].astype(np.int16)])
    def test_other_values_and_types(self, image, key_file, tmp_path):
        with pytest.raises(ImageFormatError):
            predict(pair()[1], self.batch(image.astype(image.dtype), tmp_path))


class TestGreyscale:
    """open-mmlab/mmsegmentation#1062 and #543: greyscale images in a model for RGB.

    MMSegmentation subtracts a mean of three channels from one, so that the plain model sees three.
    """

    def test_with_the_default_cipher(self, key_file, tmp_path):
        plain = stirred(plain_config())
        cipher = [dict(part, allow_weak=False) for part in cipher_config()]
        keyed = bind(build(keyed_config(plain_config(), cipher)), plain.state_dict())
        batch = load(write(tmp_path / 'image.png', FOUR[..., 0]), color_type='grayscale')
        with pytest.raises((WeakCipherError, ImageFormatError), match=r'1 channel|got 1'):
            predict(keyed, batch)

    @pytest.mark.parametrize('cipher', [BLOCKS_OF_8, cipher_config()], ids=['blocks of 8', 'weak is allowed'])
    def test_with_a_cipher_that_takes_one_channel(self, cipher, key_file, tmp_path):
        """The prediction is that of the plain model, or an error says why not."""
        models = pair(cipher=cipher)
        batch = load(write(tmp_path / 'image.png', FOUR[..., 0]), color_type='grayscale')
        expected = predict(models[0], batch)
        try:
            got = predict(models[1], batch)
        except KeyProtectError:
            return
        torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)
