import copy
import pickle
import sys

import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmseg.registry import TRANSFORMS
from torch.utils.data import DataLoader

import mmseg_keyprotect  # noqa: F401
from helpers import CIPHERS
from helpers.datasets import Images
from mmseg_keyprotect.datasets.transforms import META_KEYS, KeyedBlockEncrypt
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    BlockAlignmentError,
    ImageFormatError,
    KeyFileError,
    LeakedKeyError,
    WrongKeyError,
)

PACK = dict(
    type='PackSegInputs', meta_keys=('ori_shape', 'img_shape', 'pad_shape', 'flip', 'flip_direction', *META_KEYS)
)
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
STOCK = {
    'nothing': [],
    'crop': [dict(type='RandomCrop', crop_size=(24, 31))],
    'crop larger than the image': [dict(type='RandomCrop', crop_size=(64, 64))],
    'flip': [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=1.0, direction='vertical')],
    'rotate': [dict(type='RandomRotate', prob=1.0, degree=20)],
    'colour': [dict(type='PhotoMetricDistortion')],
    'resize': [dict(type='RandomResize', scale=(50, 38), ratio_range=(0.7, 1.3), keep_ratio=True)],
    'pad': [dict(type='Pad', size=(50, 60))],
    'clahe': [dict(type='CLAHE')],
    'gamma': [dict(type='AdjustGamma', gamma=1.3)],
    'cutout': [dict(type='RandomCutOut', prob=1.0, n_holes=2, cutout_shape=(4, 4))],
    'resize to multiple': [dict(type='ResizeToMultiple', size_divisor=32)],
    'short side': [dict(type='ResizeShortestEdge', scale=30, max_size=60)],
    'edge map': [dict(type='GenerateEdge')],
    'rgb to grey': [dict(type='RGB2Gray', out_channels=3)],
    'rerange': [dict(type='Rerange')],
}
INTERPOLATING = ('rotate', 'resize', 'resize to multiple', 'short side')


@pytest.fixture
def sample(tmp_path):
    """A real image file, 37 x 45, and its label file."""
    rng = np.random.default_rng(3)
    image = cv2.resize(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8), (45, 37), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / 'a.png'), image)
    cv2.imwrite(str(tmp_path / 'a_label.png'), rng.integers(0, 5, (37, 45), dtype=np.uint8))
    return dict(
        img_path=str(tmp_path / 'a.png'),
        seg_map_path=str(tmp_path / 'a_label.png'),
        reduce_zero_label=False,
        seg_fields=[],
        label_map=None,
    )


def run(steps, sample):
    return Compose([TRANSFORMS.build(step) for step in steps])(copy.deepcopy(sample))


@pytest.mark.parametrize('to_float32', [False, True])
@pytest.mark.parametrize('name', STOCK)
def test_after_every_stock_transform(name, to_float32, sample, key_file, key):
    np.random.seed(0)
    steps = [dict(type='LoadImageFromFile', to_float32=to_float32), LOAD[1], *STOCK[name]]
    if to_float32 and name in ('clahe', 'gamma', 'colour'):
        pytest.skip('mmseg itself wants 8-bit images here')
    before = run(steps, sample)
    np.random.seed(0)
    if (before['img'] != before['img'].round()).any():
        assert name == 'rgb to grey' or (
            to_float32 and name in ('rotate', 'resize', 'resize to multiple', 'short side')
        )
        with pytest.raises(ImageFormatError, match='fractions.*to_float32'):
            run([*steps, dict(type='KeyedBlockEncrypt')], sample)
        return
    after = run([*steps, dict(type='KeyedBlockEncrypt')], sample)
    height, width = before['img'].shape[:2]
    assert after['img'].shape[0] == -(-height // 4) * 4
    assert after['img'].shape[1] == -(-width // 4) * 4
    assert after['gt_seg_map'].shape == after['img'].shape[:2] == after['pad_shape']
    assert after['padding_size'] == (0, -width % 4, 0, -height % 4)
    assert (after['key_id'], after['cipher']) == (key.key_id, 'shuffle+negative-positive/M=4')
    np.testing.assert_array_equal(after['gt_seg_map'][:height, :width], before['gt_seg_map'])
    assert (after['gt_seg_map'][height:] == 255).all()
    assert (after['gt_seg_map'][:, width:] == 255).all()
    cipher = KeyedBlockEncrypt().keyed_cipher.cipher_for(3)
    plain = cipher.decrypt(np.ascontiguousarray(after['img'][..., ::-1]))[:height, :width, ::-1]
    np.testing.assert_array_equal(plain, before['img'].round().astype(np.uint8))


@pytest.mark.parametrize('name', CIPHERS)
@pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
def test_bgr_and_rgb_pipelines_agree(name, image, key_file):
    if name == 'reference-FFX':
        pytest.importorskip('pyffx')
    bgr = KeyedBlockEncrypt(cipher=CIPHERS[name]).transform(dict(img=image))['img']
    rgb = KeyedBlockEncrypt(cipher=CIPHERS[name], channel_order='rgb').transform(dict(img=image[..., ::-1]))['img']
    np.testing.assert_array_equal(bgr, rgb[..., ::-1])


def test_grey_and_many_channels(key_file):
    grey = np.random.default_rng(0).integers(0, 256, (16, 24), dtype=np.uint8)
    encrypt = KeyedBlockEncrypt(cipher=dict(type='Shuffle', block_size=8))
    flat = encrypt.transform(dict(img=grey))['img']
    assert flat.shape == grey.shape
    np.testing.assert_array_equal(encrypt.transform(dict(img=grey[..., None]))['img'][..., 0], flat)
    many = np.random.default_rng(0).integers(0, 256, (16, 24, 6), dtype=np.uint8)
    assert encrypt.transform(dict(img=many))['img'].shape == many.shape


def test_packed_sample_carries_the_records(sample, key_file, key):
    packed = run([LOAD[0], dict(type='KeyedBlockEncrypt'), LOAD[1], PACK], sample)
    meta = packed['data_samples'].metainfo
    assert meta['padding_size'] == (0, 3, 0, 3)
    assert meta['key_id'] == key.key_id
    assert packed['inputs'].shape == (3, 40, 48)
    assert packed['inputs'].dtype == torch.uint8
    assert packed['data_samples'].gt_sem_seg.shape == (37, 45)


def test_inside_test_time_augmentation(sample, key_file):
    tta = dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=r, keep_ratio=True) for r in (0.7, 1.0)],
            [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0.0, 1.0)],
            [dict(type='KeyedBlockEncrypt')],
            [LOAD[1]],
            [PACK],
        ],
    )
    packed = run([LOAD[0], tta], sample)
    assert [tuple(image.shape) for image in packed['inputs']] == [(3, 28, 32)] * 2 + [(3, 40, 48)] * 2
    plain, flipped = packed['inputs'][2:]
    cipher = KeyedBlockEncrypt().keyed_cipher.cipher_for(3)
    plain, flipped = (cipher.decrypt(image.flip(0))[:, :37, :45] for image in (plain, flipped))
    assert torch.equal(plain.flip(2), flipped)


@pytest.mark.parametrize(('workers', 'start'), [(1, 'fork'), (3, 'fork'), (1, 'spawn')])
def test_workers_encrypt_alike(workers, start, key_file):
    if start == 'fork' and sys.platform == 'win32':
        pytest.skip('no fork on Windows')
    dataset = Images(KeyedBlockEncrypt())
    expected = torch.stack([dataset[index] for index in range(8)])
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context=start)
    assert torch.equal(torch.cat(list(loader)), expected)


def test_pickle_holds_the_configuration_and_no_key(key_file, key):
    data = pickle.dumps(KeyedBlockEncrypt(key=dict(type='KeyFile', path=str(key_file))))
    assert key._secret not in data
    assert pickle.loads(data).keyed_cipher.key_id == key.key_id
    with pytest.raises(LeakedKeyError):
        pickle.dumps(KeyedBlockEncrypt(key=key))


def test_repr_shows_the_public_part(key_file, key):
    assert repr(KeyedBlockEncrypt()) == (
        f'KeyedBlockEncrypt(<KeyedCipher shuffle+negative-positive/M=4 key_id={key.key_id}>, seg_pad_val=255)'
    )


def test_encrypting_twice(image, key_file):
    encrypt = KeyedBlockEncrypt()
    with pytest.raises(AlreadyEncryptedError, match='Keep one KeyedBlockEncrypt'):
        encrypt.transform(encrypt.transform(dict(img=image)))


def test_label_of_another_size(image, key_file):
    with pytest.raises(ImageFormatError, match=r'gt_seg_map.*\(13, 18\), but got \(13, 17\)'):
        KeyedBlockEncrypt().transform(dict(img=image, gt_seg_map=np.zeros((13, 17), np.uint8)))


def test_image_smaller_than_a_block(key_file):
    with pytest.raises(BlockAlignmentError, match='at least one block'):
        KeyedBlockEncrypt().transform(dict(img=np.zeros((3, 9, 3), np.uint8)))


def test_nan(key_file):
    with pytest.raises(ImageFormatError, match='nan'):
        KeyedBlockEncrypt().transform(dict(img=np.full((8, 8, 3), np.nan, np.float32)))


def test_no_key(monkeypatch):
    monkeypatch.delenv('KEYPROTECT_KEY_FILE', raising=False)
    with pytest.raises(KeyFileError, match='keygen'):
        KeyedBlockEncrypt()


def test_key_of_another_id(key_file, other_key):
    with pytest.raises(WrongKeyError, match=other_key.key_id):
        KeyedBlockEncrypt(key_id=other_key.key_id)
