"""A data sample that comes back from a prediction says nothing about the next image that it is given with."""

import copy

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose, pseudo_collate
from mmseg.registry import TRANSFORMS
from torch.utils.data import DataLoader

import mmseg_keyprotect  # noqa: F401
from helpers import CIPHERS
from helpers.segmentors import IMAGENET, build, plain_config, stir
from mmseg_keyprotect.config.view import META_KEYS
from mmseg_keyprotect.datasets.transforms import LoadEncryptedImage
from mmseg_keyprotect.errors import ImageFormatError
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.models import KeyedSegDataPreProcessor

MARKS = META_KEYS[1:]
FFX = CIPHERS['ffx']


def photo(seed, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (61, 62, channels), dtype=np.uint8)


def packed(image, *steps, keys=META_KEYS):
    """Run one image through a pipeline that ends in PackSegInputs."""
    pack = dict(type='PackSegInputs', meta_keys=('ori_shape', 'img_shape', 'pad_shape', *keys))
    pipeline = Compose([TRANSFORMS.build(step) for step in (*steps, pack)])
    return pipeline(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]))


def encrypted(image, cipher=None, **options):
    return packed(image, dict(type='KeyedBlockEncrypt', **({} if cipher is None else dict(cipher=cipher))), **options)


def as_tensor(image):
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


@pytest.fixture
def keyed(key_file):
    return KeyedSegDataPreProcessor(**IMAGENET)


@pytest.fixture(params=[None, dict(size_divisor=32)], ids=['unpadded', 'padded'])
def model(key_file, request):
    cfg = plain_config(padding=request.param)
    cfg['data_preprocessor']['type'] = 'KeyedSegDataPreProcessor'
    model = build(cfg)
    model.backbone.register_forward_pre_hook(lambda module, inputs: tuple(x.double() for x in inputs))
    stir(model)
    return model


@torch.no_grad()
def predict(model, image, sample):
    return model.test_step(dict(inputs=[image], data_samples=[sample]))[0]


@pytest.mark.parametrize('first', [packed, encrypted])
def test_a_plain_image_with_the_sample_of_a_prediction(first, model):
    """It is encrypted, and cut back, as with a sample of its own: pseudo-labels, test-time training, two stages."""
    batch, other = first(photo(1)), packed(photo(2))
    result = predict(model, batch['inputs'], batch['data_samples'])
    expected = predict(model, other['inputs'], other['data_samples'])
    again = predict(model, as_tensor(photo(2)), copy.deepcopy(result))
    assert again.pred_sem_seg.shape == (61, 62)
    assert torch.equal(again.seg_logits.data, expected.seg_logits.data)
    assert not torch.equal(
        again.seg_logits.data, predict(model, batch['inputs'], batch['data_samples']).seg_logits.data
    )


@pytest.mark.parametrize('training', [False, True])
@pytest.mark.parametrize('first', [packed, encrypted])
def test_no_mark_leaves_the_preprocessor(first, training, key_file):
    preprocessor = KeyedSegDataPreProcessor(**IMAGENET, size=(64, 64))
    sample = preprocessor(pseudo_collate([first(photo(1))]), training)['data_samples'][0]
    assert not set(MARKS) & set(sample.metainfo)


@pytest.mark.parametrize('cipher', [None, FFX], ids=['default', 'ffx'])
class TestEncryptedElsewhere:
    """An image that the pipeline, or a client, has encrypted passes; another image with its sample does not."""

    @pytest.fixture
    def keyed(self, key_file, cipher):
        return KeyedSegDataPreProcessor(**IMAGENET, **({} if cipher is None else dict(cipher=cipher)))

    def test_passes(self, keyed, cipher):
        plain = keyed(pseudo_collate([packed(photo(1))]))['inputs']
        assert torch.equal(keyed(pseudo_collate([encrypted(photo(1), cipher)]))['inputs'], plain)

    def test_passes_through_workers(self, keyed, cipher):
        data = [encrypted(photo(seed), cipher) for seed in range(2)]
        (batch,) = DataLoader(data, batch_size=2, num_workers=1, collate_fn=pseudo_collate)
        plain = keyed(pseudo_collate([packed(photo(seed)) for seed in range(2)]))['inputs']
        assert torch.equal(keyed(batch)['inputs'], plain)

    def test_other_image(self, keyed, cipher):
        batch = encrypted(photo(1), cipher)
        for other in (as_tensor(photo(1)), encrypted(photo(2), cipher)['inputs'], batch['inputs'].flip(-1)):
            with pytest.raises(ImageFormatError, match='the encrypted image that its data sample describes'):
                keyed(dict(inputs=[other], data_samples=[copy.deepcopy(batch['data_samples'])]))

    def test_of_a_client(self, keyed, cipher, key, tmp_path):
        cv2.imwrite(str(tmp_path / 'plain.png'), photo(1))
        encryptor = Encryptor(key, **({} if cipher is None else dict(cipher=cipher)))
        path = tmp_path / f'encrypted{encryptor.suffix}'
        encryptor.encrypt_file(tmp_path / 'plain.png', path)
        results = LoadEncryptedImage().transform(dict(img_path=str(path)))
        batch = TRANSFORMS.build(dict(type='PackSegInputs', meta_keys=META_KEYS))(results)
        plain = keyed(pseudo_collate([packed(photo(1))]))['inputs']
        got = keyed(pseudo_collate([batch]))['inputs']
        assert torch.equal(got, plain)
        with pytest.raises(ImageFormatError, match='data sample describes'):
            keyed(dict(inputs=[as_tensor(photo(1))], data_samples=[batch['data_samples']]))


@pytest.mark.parametrize('channels', [1, 6])
def test_other_numbers_of_channels(channels, key_file):
    cipher = dict(type='Shuffle', block_size=8)
    keyed = KeyedSegDataPreProcessor(cipher=cipher)
    plain = keyed(pseudo_collate([packed(photo(1, channels))]))['inputs']
    assert torch.equal(keyed(pseudo_collate([encrypted(photo(1, channels), cipher)]))['inputs'], plain)


def test_grey_without_an_axis(key_file):
    cipher = dict(type='Shuffle', block_size=8)
    batch = encrypted(photo(1, 1)[..., 0], cipher)
    assert KeyedSegDataPreProcessor(cipher=cipher)(pseudo_collate([batch]))['inputs'].shape == (1, 1, 64, 64)


def test_a_mark_without_a_checksum(keyed):
    """Pipelines of earlier versions do not pack it."""
    batch = encrypted(photo(1), keys=META_KEYS[:3])
    with pytest.raises(ImageFormatError, match='encrypted_checksum.*meta_keys of PackSegInputs'):
        keyed(pseudo_collate([batch]))
