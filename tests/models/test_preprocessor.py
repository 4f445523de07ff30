"""The preprocessor gives the network the same bits as the transform, and encrypts as any user."""

import copy
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.structures import PixelData
from mmseg.models import SegDataPreProcessor
from mmseg.registry import TRANSFORMS
from mmseg.structures import SegDataSample

import mmseg_keyprotect  # noqa: F401
from helpers import CIPHERS
from mmseg_keyprotect.ciphers import PlainImages
from mmseg_keyprotect.datasets.transforms import META_KEYS
from mmseg_keyprotect.errors import (
    BlockAlignmentError,
    DamagedFileError,
    ImageFormatError,
    LeakedKeyError,
    UnsupportedSpecError,
    WrongKeyError,
)
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.models import KeyedSegDataPreProcessor

NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
META = ('ori_shape', 'img_shape', 'pad_shape', 'flip', 'flip_direction', *META_KEYS)


def photo(seed=0, size=(37, 45)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def pack(images, steps=(), label=True):
    """Run images through a pipeline and collate them as mmseg does."""
    pipeline = Compose([TRANSFORMS.build(step) for step in [*steps, dict(type='PackSegInputs', meta_keys=META)]])
    batch = dict(inputs=[], data_samples=[])
    for image in images:
        results = dict(img=image.copy(), img_shape=image.shape[:2], ori_shape=image.shape[:2], seg_fields=[])
        if label:
            results.update(gt_seg_map=(image[..., 0] % 5), seg_fields=['gt_seg_map'])
        packed = pipeline(results)
        batch['inputs'].append(packed['inputs'])
        batch['data_samples'].append(packed['data_samples'])
    return batch


def both(cipher, images, training, steps=(), **kwargs):
    """Return the input of the network from the transform, and from the preprocessor."""
    transform = dict(type='KeyedBlockEncrypt', cipher=cipher)
    np.random.seed(0)
    encrypted = pack(images, [*steps, transform], label=training)
    np.random.seed(0)
    plain = pack(images, steps, label=training)
    stock = SegDataPreProcessor(**NORMALISE, **kwargs)(encrypted, training)
    keyed = KeyedSegDataPreProcessor(cipher=cipher, **NORMALISE, **kwargs)(plain, training)
    return stock, keyed


def assert_same(stock, keyed):
    assert torch.equal(stock['inputs'], keyed['inputs'])
    for a, b in zip(stock['data_samples'], keyed['data_samples'], strict=True):
        assert ('gt_sem_seg' in a) == ('gt_sem_seg' in b)
        if 'gt_sem_seg' in a:
            assert torch.equal(a.gt_sem_seg.data, b.gt_sem_seg.data)
        paddings = [sample.get('img_padding_size', sample.get('padding_size')) for sample in (a, b)]
        assert tuple(paddings[0]) == tuple(paddings[1])
        assert tuple(a.pad_shape) == tuple(b.pad_shape)
        assert not {'key_id', 'cipher', 'encrypted_checksum'} & set(b.metainfo)


@pytest.mark.parametrize('size', [(37, 45), (40, 48)])
@pytest.mark.parametrize('name', CIPHERS)
@pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
class TestBitIdentity:
    """Transform and preprocessor give the same bits."""

    @pytest.fixture(autouse=True)
    def _needs(self, name, key_file):
        if name == 'reference-FFX':
            pytest.importorskip('pyffx')

    def test_training(self, name, size):
        steps = [dict(type='RandomCrop', crop_size=(32, 40)), dict(type='RandomFlip', prob=0.5)]
        assert_same(*both(CIPHERS[name], [photo(1, size), photo(2, size)], True, steps, size=(40, 48)))

    def test_testing(self, name, size):
        assert_same(*both(CIPHERS[name], [photo(1, size)], False))

    def test_flip_and_scale_of_tta(self, name, size):
        steps = [dict(type='Resize', scale_factor=0.7, keep_ratio=True), dict(type='RandomFlip', prob=1.0)]
        assert_same(*both(CIPHERS[name], [photo(1, size)], False, steps))

    def test_float32_images(self, name, size):
        assert_same(*both(CIPHERS[name], [photo(1, size).astype(np.float32)], False))

    def test_slide_windows(self, name, size):
        """Windows of whole blocks of an encrypted image equal the encrypted windows of the image."""
        stock, keyed = both(CIPHERS[name], [photo(1, size)], False)
        windows = [batch['inputs'][..., 8:32, 12:36] for batch in (stock, keyed)]
        assert torch.equal(*windows)
        window = np.ascontiguousarray(photo(1, size)[8:32, 12:36])
        assert torch.equal(both(CIPHERS[name], [window], False)[1]['inputs'], windows[0])


def test_images_of_different_sizes_in_a_batch(key_file):
    images = [photo(1, (30, 41)), photo(2, (40, 48)), photo(3, (5, 48))]
    stock, keyed = both(CIPHERS['shuffle+negative-positive'], images, True, size=(40, 48))
    assert keyed['inputs'].shape == (3, 3, 40, 48)
    assert_same(stock, keyed)


def test_rgb_images(key_file):
    kwargs = dict(mean=[128.0] * 3, std=[64.0] * 3)
    rgb = pack([photo()[..., ::-1]], label=False)
    from_rgb = KeyedSegDataPreProcessor(channel_order='rgb', **kwargs)(rgb)
    from_bgr = KeyedSegDataPreProcessor(bgr_to_rgb=True, **kwargs)(pack([photo()], label=False))
    assert torch.equal(from_rgb['inputs'], from_bgr['inputs'])


def test_true_size_comes_back(key_file):
    """The padding for the network and that to whole blocks are recorded together."""
    preprocessor = KeyedSegDataPreProcessor(**NORMALISE, test_cfg=dict(size_divisor=32))
    batch = preprocessor(pack([photo()], label=False))
    assert batch['inputs'].shape == (1, 3, 64, 64)
    sample = batch['data_samples'][0]
    assert sample.img_padding_size == (0, 64 - 45, 0, 64 - 37)
    assert tuple(sample.pad_shape) == (64, 64)


def test_what_is_encrypted_already_passes(key_file):
    keyed = KeyedSegDataPreProcessor(**NORMALISE)
    plain = keyed(pack([photo()], label=False))
    encrypted = keyed(pack([photo()], [dict(type='KeyedBlockEncrypt')], label=False))
    assert_same(plain, encrypted)


def test_what_another_key_encrypted_is_refused(key_file, other_key_file, key, other_key):
    other = dict(type='KeyedBlockEncrypt', key=dict(type='KeyFile', path=str(other_key_file)))
    with pytest.raises(WrongKeyError, match=f'{key.key_id}.*{other_key.key_id}'):
        KeyedSegDataPreProcessor()(pack([photo()], [other], label=False))


def test_what_another_cipher_encrypted_is_refused(key_file):
    other = dict(type='KeyedBlockEncrypt', cipher=CIPHERS['shuffle'])
    with pytest.raises(WrongKeyError, match='shuffle/M=4'):
        KeyedSegDataPreProcessor()(pack([photo()], [other], label=False))


def test_callers_samples_stay_plain(key_file):
    batch = pack([photo()])
    before = copy.deepcopy(batch)
    first = KeyedSegDataPreProcessor()(batch)
    assert 'key_id' not in batch['data_samples'][0]
    assert torch.equal(batch['inputs'][0], before['inputs'][0])
    assert torch.equal(KeyedSegDataPreProcessor()(batch)['inputs'], first['inputs'])


def test_prepare_encrypts_as_any_user(key_file, other_key):
    """Another key gives the input of that key's preprocessor, and no key that of a plain one on whole blocks."""
    preprocessor = KeyedSegDataPreProcessor(**NORMALISE)
    correct, cipher = preprocessor(pack([photo()]))['inputs'], preprocessor.encryption
    wrong = preprocessor.prepare(pack([photo()]), False, cipher.with_key(other_key))
    assert torch.equal(wrong['inputs'], KeyedSegDataPreProcessor(key=other_key, **NORMALISE)(pack([photo()]))['inputs'])
    plain = preprocessor.prepare(pack([photo()]), False, PlainImages(4))
    assert plain['inputs'].shape == (1, 3, 40, 48)
    assert torch.equal(plain['inputs'][..., :37, :45], SegDataPreProcessor(**NORMALISE)(pack([photo()]))['inputs'])
    assert 'key_id' not in plain['data_samples'][0]
    assert preprocessor.encryption is cipher
    assert torch.equal(preprocessor(pack([photo()]))['inputs'], correct)


def test_without_key_is_a_copy(key_file):
    preprocessor = KeyedSegDataPreProcessor(**NORMALISE)
    correct, without = preprocessor(pack([photo()]))['inputs'], preprocessor.without_key()
    assert without.keyed_cipher is None
    expected = preprocessor.prepare(pack([photo()]), False, PlainImages(4))['inputs']
    assert torch.equal(without(pack([photo()]))['inputs'], expected)
    assert not torch.equal(expected, correct)
    assert preprocessor.keyed_cipher is not None
    assert torch.equal(preprocessor(pack([photo()]))['inputs'], correct)


def test_label_of_another_size_in_training(key_file):
    batch = pack([photo()])
    batch['data_samples'][0].gt_sem_seg = PixelData(data=torch.zeros(1, 37, 44, dtype=torch.long))
    with pytest.raises(ImageFormatError, match=r'gt_sem_seg.*\(37, 45\), but got \(37, 44\)'):
        KeyedSegDataPreProcessor(size=(40, 48))(batch, True)


def test_edge_and_depth_maps_are_extended(key_file):
    batch = pack([photo()])
    sample: SegDataSample = batch['data_samples'][0]
    sample.gt_edge_map = PixelData(data=torch.zeros(1, 37, 45, dtype=torch.long))
    sample.gt_depth_map = PixelData(data=torch.ones(1, 37, 45))
    done = KeyedSegDataPreProcessor(size=(40, 48))(batch, True)['data_samples'][0]
    for label, ignored in ((done.gt_edge_map, 255), (done.gt_depth_map, 0)):
        assert label.data.shape == (1, 40, 48)
        assert (label.data[:, 37:] == ignored).all()


@pytest.mark.parametrize(
    ('training', 'kwargs'), [(True, dict(size=(41, 48))), (False, dict(test_cfg=dict(size=(41, 48))))]
)
def test_padding_size_in_part_of_a_block(training, kwargs, key_file):
    with pytest.raises(BlockAlignmentError, match=r'multiple of the block size 4, but got \(41, 48\).*\(40, 48\)'):
        KeyedSegDataPreProcessor(**kwargs)(pack([photo()]), training)


@pytest.mark.parametrize('value', [float('nan'), 256.0, -1.0])
def test_bad_values(value, key_file):
    with pytest.raises(ImageFormatError, match='0 to 255'):
        KeyedSegDataPreProcessor()(dict(inputs=[torch.full((3, 8, 8), value)]))


def test_nothing_of_the_key_in_state_pickle_or_repr(key_file, key):
    preprocessor = KeyedSegDataPreProcessor(**NORMALISE)
    state = preprocessor.state_dict()
    assert list(state) == ['protection']
    assert bytes(state['protection'].tolist()).decode() == f'1:{key.key_id}:shuffle+negative-positive/M=4'
    assert key._secret not in pickle.dumps(preprocessor)
    assert pickle.loads(pickle.dumps(preprocessor)).keyed_cipher.key_id == key.key_id
    assert key._secret.hex() not in repr(preprocessor)
    copy.deepcopy(preprocessor)
    with pytest.raises(LeakedKeyError):
        pickle.dumps(KeyedSegDataPreProcessor(key=SecretKey.generate()))


class TestLoading:
    """The state dict of a checkpoint names its key."""

    def test_same_key(self, key_file):
        KeyedSegDataPreProcessor().load_state_dict(KeyedSegDataPreProcessor().state_dict())

    def test_other_key(self, key_file, other_key):
        state = KeyedSegDataPreProcessor(key=other_key).state_dict()
        with pytest.raises(WrongKeyError, match=other_key.key_id):
            KeyedSegDataPreProcessor().load_state_dict(state)

    def test_other_cipher(self, key_file):
        state = KeyedSegDataPreProcessor(cipher=CIPHERS['shuffle']).state_dict()
        with pytest.raises(WrongKeyError, match='shuffle/M=4'):
            KeyedSegDataPreProcessor().load_state_dict(state)

    def test_no_key(self, key_file):
        with pytest.raises(WrongKeyError, match='names no key'):
            KeyedSegDataPreProcessor().load_state_dict({})

    def test_newer_spec(self, key_file, key):
        newer = Identity(key.key_id, 'shuffle+negative-positive/M=4', spec_version=2)
        with pytest.raises(UnsupportedSpecError, match='got version 2'):
            KeyedSegDataPreProcessor().load_state_dict(dict(protection=newer.to_tensor()))

    @pytest.mark.parametrize('junk', [torch.zeros(0), torch.full((40,), 255.0), torch.zeros(10**6), torch.ones(3, 3)])
    def test_damaged(self, junk, key_file):
        with pytest.raises(DamagedFileError, match='damaged'):
            KeyedSegDataPreProcessor().load_state_dict(dict(protection=junk))
