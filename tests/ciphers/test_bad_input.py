"""Bad input raises a named error that says what was expected, what was found and what to do."""

import numpy as np
import pytest
import torch

from helpers import CIPHERS, NEGATIVE, SHUFFLE
from mmseg_keyprotect.ciphers import KeyedCipher, build_cipher
from mmseg_keyprotect.errors import (
    BlockAlignmentError,
    ConfigError,
    ImageFormatError,
    WeakCipherError,
    WrongKeyError,
)


@pytest.mark.parametrize('block_size', [0, -4, 4.0, '4', True, None, 513, 100_000, 10**30])
def test_block_size(block_size, key):
    with pytest.raises(BlockAlignmentError, match='block_size.*but got'):
        build_cipher(dict(type='Shuffle', block_size=block_size), key)


@pytest.mark.parametrize(
    ('cfg', 'bits'),
    [
        (dict(type='Shuffle', block_size=1), '2.6'),
        (dict(type='Shuffle', block_size=2), '28.8'),
        (NEGATIVE, '44.9'),
        ([dict(type='Shuffle', block_size=2), dict(type='NegativePositive', block_size=2)], '38.7'),
    ],
)
def test_weak_cipher(cfg, bits, key):
    with pytest.raises(WeakCipherError, match=f'{bits} key bits.*allow_weak'):
        build_cipher(cfg, key)
    allowed = [dict(part, allow_weak=True) for part in cfg] if isinstance(cfg, list) else dict(cfg, allow_weak=True)
    with pytest.warns(UserWarning, match=f'{bits} key bits'):
        build_cipher(allowed, key)


def test_ffx_of_one_sample_keys_nothing(key):
    with pytest.raises(WeakCipherError, match='0.0 key bits'):
        build_cipher(dict(type='FFX', block_size=1), key, channels=1)


@pytest.mark.parametrize(
    ('cfg', 'match'),
    [
        ({}, "dict\\(type='Shuffle'"),
        ([], 'empty list'),
        ('shuffle', "got \\['str'\\]"),
        (dict(type='Scramble', block_size=4), "got 'Scramble'"),
        (dict(type='Shuffle'), 'block_size'),
        (dict(type='Shuffle', block_size=4, rounds=3), 'rounds'),
        ([SHUFFLE, SHUFFLE], 'at most once'),
        ([dict(type='FFX', block_size=4), SHUFFLE], 'ffx as the last'),
        (dict(type='Sequence', ciphers=[SHUFFLE], rounds=2), 'rounds'),
        (dict(type='ReferenceCipher', transform='XOR', block_size=4, seed=1), 'XOR'),
        (dict(type='ReferenceCipher', transform='SHF', block_size=4, seed=-1), 'seed'),
    ],
)
@pytest.mark.filterwarnings('ignore:ReferenceCipher')
def test_cipher_config(cfg, match, key):
    with pytest.raises(ConfigError, match=match):
        build_cipher(cfg, key)


def test_sequence_of_two_block_sizes(key):
    with pytest.raises(BlockAlignmentError, match=r'got \[4, 8\]'):
        build_cipher([SHUFFLE, dict(type='NegativePositive', block_size=8)], key)


def test_no_key():
    with pytest.raises(ConfigError, match='SecretKey for Shuffle, but got NoneType'):
        build_cipher(SHUFFLE)


@pytest.mark.parametrize(
    ('image', 'error', 'match'),
    [
        (np.zeros((8, 8, 3), np.int32), ImageFormatError, 'uint8, but got int32'),
        (np.zeros((8, 8, 3), np.float32), ImageFormatError, 'uint8, but got float32'),
        (np.zeros((8, 8), np.uint8), ImageFormatError, r'\(H, W, C\), but got shape \(8, 8\)'),
        (np.zeros((8, 8, 4), np.uint8), ImageFormatError, '3 channels.*got 4'),
        (np.zeros((8, 9, 3), np.uint8), BlockAlignmentError, 'block size 4, but got 8 x 9'),
        (np.zeros((0, 8, 3), np.uint8), BlockAlignmentError, 'got 0 x 8'),
        (torch.zeros((2, 8, 8), dtype=torch.uint8), ImageFormatError, '3 channels.*got 2'),
        (torch.zeros((8, 8), dtype=torch.uint8), ImageFormatError, r'\(N, C, H, W\)'),
        (torch.zeros((3, 6, 8), dtype=torch.uint8), BlockAlignmentError, '6 x 8'),
        ([[1]], ImageFormatError, 'numpy array or a torch tensor, but got list'),
    ],
)
def test_image(image, error, match, key):
    with pytest.raises(error, match=match):
        build_cipher(SHUFFLE, key).encrypt(image)


@pytest.mark.parametrize(
    ('image', 'match'),
    [
        (np.full((8, 8, 3), 255.5, np.float32), '0 to 255, but got 255.5'),
        (np.full((8, 8, 3), -1, np.float64), 'got -1.0'),
        (np.full((8, 8, 3), np.nan, np.float32), 'got nan'),
        (torch.full((3, 8, 8), float('nan')), 'got nan'),
        (torch.full((3, 8, 8), 300.0), 'got 300.0'),
        (np.zeros((8, 8, 3), np.int64), '8-bit image.*got int64'),
        (np.zeros((2, 8, 8, 3), np.uint8), 'got shape'),
        ('image.png', 'got str'),
    ],
)
def test_image_of_a_pipeline(image, match, key):
    with pytest.raises(ImageFormatError, match=match):
        KeyedCipher(key=key).encrypt(image)


def test_image_smaller_than_a_block(key):
    with pytest.raises(BlockAlignmentError, match='at least one block, 4 x 4 pixels, but got 3 x 8'):
        KeyedCipher(key=key).encrypt(np.zeros((3, 8, 3), np.uint8))


@pytest.mark.parametrize('as_tensor', [False, True])
@pytest.mark.parametrize('value', [1000, 999])
def test_ffx_met_a_value_that_the_key_never_produces(value, as_tensor, key):
    cipher = build_cipher(CIPHERS['ffx'], key)
    bad = np.full((4, 4, 3), value, np.uint16)
    with pytest.raises(WrongKeyError, match='never produces'):
        cipher.decrypt(torch.from_numpy(bad.astype(np.int16)).permute(2, 0, 1) if as_tensor else bad)


def test_key_of_another_id(key):
    with pytest.raises(WrongKeyError, match='Expected the key 0123456789abcdef'):
        KeyedCipher(key=key, key_id='0123456789abcdef')


def test_channel_order(key):
    with pytest.raises(ConfigError, match="'bgr' or 'rgb', but got 'gbr'"):
        KeyedCipher(key=key, channel_order='gbr')


def test_pad_mode(key):
    with pytest.raises(ConfigError, match="'replicate'.*got 'constant'"):
        KeyedCipher(key=key, pad_mode='constant')
