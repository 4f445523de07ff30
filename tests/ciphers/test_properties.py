"""Properties of every cipher, for any image and key."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers import CIPHERS, NEGATIVE, SHUFFLE
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.errors import LeakedKeyError
from mmseg_keyprotect.keys import SecretKey

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
secrets = st.binary(min_size=32, max_size=32)


@st.composite
def cases(draw):
    """A cipher of any kind and size, and an image that fits it."""
    block_size, channels = draw(st.integers(1, 9)), draw(st.sampled_from([1, 3, 4]))
    kinds = draw(st.lists(st.sampled_from(['Shuffle', 'NegativePositive']), unique=True, max_size=2))
    kinds += draw(st.sampled_from([[], ['FFX']])) if kinds else ['FFX']
    cfg = [dict(type=kind, block_size=block_size, allow_weak=True) for kind in kinds]
    rows, columns, seed = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(0, 2**32 - 1))
    shape = (rows * block_size, columns * block_size, channels)
    image = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        return build_cipher(cfg, SecretKey.from_bytes(draw(secrets)), channels), image


@settings(max_examples=150, deadline=None)
@given(cases())
def test_decrypt_inverts_encrypt_and_torch_equals_numpy(case):
    cipher, image = case
    encrypted = cipher.encrypt(image)
    np.testing.assert_array_equal(cipher.decrypt(encrypted), image)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].repeat(2, 1, 1, 1)
    expected = torch.from_numpy(encrypted.astype(np.int16)).permute(2, 0, 1)
    for got in cipher.encrypt(batch):
        assert torch.equal(got.to(torch.int16), expected)
    assert torch.equal(cipher.decrypt(cipher.encrypt(batch)), batch)


@settings(max_examples=50, deadline=None)
@given(cases())
def test_every_block_gets_the_same_transform(case):
    cipher, image = case
    m = cipher.block_size
    tiled = np.tile(image[:m, :m], (2, 3, 1))
    encrypted = cipher.encrypt(tiled)
    np.testing.assert_array_equal(encrypted, np.tile(encrypted[:m, :m], (2, 3, 1)))


@pytest.mark.parametrize('bit', [0, 100, 255])
def test_one_bit_of_the_key_changes_the_expected_share_of_positions(key, bit):
    secret = bytearray(range(32))
    secret[bit // 8] ^= 1 << bit % 8
    other = SecretKey.from_bytes(bytes(secret))
    n = 768
    same = (permutation(key, n, 'a') == permutation(other, n, 'a')).sum()
    assert same < 8  # one fixed point is expected, Poisson: 8 or more in one of 1e5
    flip, other_flip = (
        build_cipher(dict(type='NegativePositive', block_size=16), k).encrypt(np.zeros((16, 16, 3), np.uint8))
        for k in (key, other)
    )
    assert 0.4 < (flip != other_flip).mean() < 0.6  # half is expected, standard deviation 0.018


@pytest.mark.parametrize('name', CIPHERS)
def test_strided_views_and_batches(name, key):
    if name == 'reference-FFX':
        pytest.importorskip('pyffx')
    cipher = build_cipher(CIPHERS[name], key)
    image = np.random.default_rng(1).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    view = image[::-1, ::-1][:16, :16]
    np.testing.assert_array_equal(cipher.encrypt(view), cipher.encrypt(np.ascontiguousarray(view)))
    strided = torch.from_numpy(image).permute(2, 0, 1)[:, :16, 16:]
    assert torch.equal(cipher.encrypt(strided), cipher.encrypt(strided.contiguous()))
    assert cipher.encrypt(view).flags.c_contiguous


def test_ffx_as_network_input(key):
    cipher = build_cipher(dict(type='FFX', block_size=4), key)
    image = np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    encrypted = cipher.encrypt(image)
    scaled = cipher.to_network_input(encrypted)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, encrypted.astype(float) * 255 / 999, rtol=1e-6)
    on_torch = cipher.to_network_input(cipher.encrypt(torch.from_numpy(image).permute(2, 0, 1)))
    np.testing.assert_array_equal(on_torch.permute(1, 2, 0).numpy(), scaled)  # to the last bit


def test_key_spaces(key):
    assert build_cipher([SHUFFLE, NEGATIVE], key).key_space_bits == pytest.approx(247.8, abs=0.1)
    assert build_cipher(SHUFFLE, key).key_space_bits == pytest.approx(202.9, abs=0.1)
    assert build_cipher(dict(type='FFX', block_size=4), key).key_space_bits == 256


def test_a_cipher_shows_no_key_material(key):
    cipher = build_cipher(SHUFFLE, key)
    assert repr(cipher) == f'<Shuffle shuffle/M=4 channels=3 key_id={key.key_id}>'
    assert copy.deepcopy(cipher) is cipher
    with pytest.raises(LeakedKeyError, match='build_cipher'):
        pickle.dumps(cipher)


def test_reference_leaves_the_global_random_state_alone():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    build_cipher(CIPHERS['reference-SHF'])
    assert torch.equal(torch.rand(3), expected)
