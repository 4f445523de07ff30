"""An image that is not 8-bit data is refused, wherever it meets the encryption; it is never rounded to a few values."""

import numpy as np
import pytest
import torch
from mmengine.config import Config

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.checks import check_structure
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.datasets.transforms import KeyedBlockEncrypt
from mmseg_keyprotect.errors import ConfigError, ImageFormatError
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.models import KeyedSegDataPreProcessor

PHOTO = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
FLOATS = PHOTO.astype(np.float32)
BAD = {
    'divided by 255': (FLOATS / 255, 'divided by 255'),
    'zeros and ones': ((FLOATS > 99).astype(np.float32), 'divided by 255'),
    'normalised': ((FLOATS - 123.7) / 58.4, 'Normalize'),
    'scaled by a deviation': (FLOATS / 58.4, 'fractions.*Normalize'),
    'resized as float': (FLOATS * 0.9, 'fractions.*to_float32'),
    'above 255': (FLOATS * 2, '0 to 255'),
    '16 bits': (PHOTO.astype(np.uint16) * 257, 'uint16'),
    'a mask': (PHOTO > 99, 'bool'),
}


@pytest.mark.parametrize('dtype', [None, np.float64])
@pytest.mark.parametrize('kind', BAD)
class TestRefused:
    """The message names what to take out."""

    @pytest.fixture
    def image(self, kind, dtype):
        image = BAD[kind][0]
        return image.astype(dtype) if dtype and image.dtype == np.float32 else image

    @pytest.fixture(autouse=True)
    def _key(self, key_file):
        pass

    def test_transform(self, image, kind):
        with pytest.raises(ImageFormatError, match=BAD[kind][1]):
            KeyedBlockEncrypt().transform(dict(img=image))

    def test_preprocessor(self, image, kind):
        tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        with pytest.raises(ImageFormatError, match=BAD[kind][1]):
            KeyedSegDataPreProcessor()(dict(inputs=[tensor]))

    @pytest.mark.parametrize('resize', [None, (32, 32)])
    def test_client(self, image, kind, resize, key):
        with pytest.raises(ImageFormatError, match=BAD[kind][1]):
            Encryptor(key, resize=resize).encrypt(image)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_whole_numbers_pass_bit_for_bit(dtype, key):
    cipher, image = KeyedCipher(key=key), torch.from_numpy(PHOTO).permute(2, 0, 1)
    assert torch.equal(cipher.encrypt(image.to(dtype))[0], cipher.encrypt(image)[0])


def test_rounding_errors_of_a_division_and_its_inverse_pass(key):
    cipher, back = KeyedCipher(key=key), FLOATS / np.float32(255) * np.float32(255)
    np.testing.assert_array_equal(cipher.encrypt(back)[0], cipher.encrypt(PHOTO)[0])


def test_black_floats_and_dark_bytes_pass(key):
    cipher = KeyedCipher(key=key)
    for dark in (np.zeros((8, 8, 3), np.float32), np.ones((8, 8, 3), np.uint8)):
        assert cipher.encrypt(dark)[0].shape == (8, 8, 3)


class TestConfigs:
    """A configuration is refused before anything runs."""

    @pytest.fixture
    def cfg(self):
        load, pack = dict(type='LoadImageFromFile'), dict(type='PackSegInputs')
        pipeline = [load, dict(type='LoadAnnotations'), pack]
        model = dict(type='EncoderDecoder', data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)))
        loaders = {f'{name}_dataloader': dict(dataset=dict(pipeline=list(pipeline))) for name in ('train', 'test')}
        return Config(dict(model=model, test_pipeline=list(pipeline), **loaders)).to_dict()

    @pytest.mark.parametrize(
        'step',
        [
            dict(type='Normalize', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=False),
            dict(type='Albu', transforms=[dict(type='ToFloat')]),
        ],
    )
    def test_scaling_step(self, cfg, step):
        assert check_structure(protected(cfg)) == []
        cfg['train_dataloader']['dataset']['pipeline'].insert(1, step)
        kind = 'ToFloat' if step['type'] == 'Albu' else 'Normalize'
        with pytest.raises(ConfigError, match=f'8-bit images in train_dataloader.dataset.pipeline, but .*{kind}'):
            protected(cfg)
