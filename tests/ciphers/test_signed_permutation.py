"""The signed permutation that a block stem absorbs equals the cipher on values centred at 127.5."""

import numpy as np
import pytest
import torch

from helpers import CIPHERS, NEGATIVE, SHUFFLE
from helpers.sizes import sized
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.errors import ConfigError

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')

SIGNED = {name: cipher for name, cipher in CIPHERS.items() if 'ffx' not in name.lower()} | {
    'negative-positive+shuffle': [NEGATIVE, SHUFFLE],
}
FFX = {name: cipher for name, cipher in CIPHERS.items() if 'ffx' in name.lower()}


@pytest.mark.parametrize('block_size', [1, 4, 5])
@pytest.mark.parametrize('channels', [1, 3, 4])
@pytest.mark.parametrize('name', SIGNED)
def test_it_is_what_encrypt_does_to_centred_blocks(name, channels, block_size, key):
    cipher = build_cipher(sized(SIGNED[name], block_size), key, channels)
    source, sign = cipher.transform.signed_permutation()
    assert (source.dtype, sign.dtype) == (np.int64, np.int8)
    assert sorted(source) == list(range(cipher.samples))
    assert set(sign) <= {-1, 1}
    block = np.random.default_rng(0).integers(0, 256, (block_size, block_size, channels), dtype=np.uint8)
    for got in (
        cipher.encrypt(block),
        cipher.encrypt(torch.from_numpy(block).permute(2, 0, 1)).permute(1, 2, 0).numpy(),
    ):
        np.testing.assert_array_equal(got.reshape(-1) - 127.5, sign * (block.reshape(-1) - 127.5)[source])


def test_the_order_of_a_sequence_matters(key):
    one, other = (
        build_cipher(cipher, key).transform.signed_permutation()
        for cipher in ([SHUFFLE, NEGATIVE], [NEGATIVE, SHUFFLE])
    )
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1] != other[1]).any()


def test_each_part_does_its_share(key):
    source, sign = build_cipher(SHUFFLE, key).transform.signed_permutation()
    assert (sign == 1).all()
    assert (source != np.arange(48)).sum() > 40
    source, sign = build_cipher(sized(NEGATIVE), key).transform.signed_permutation()
    np.testing.assert_array_equal(source, np.arange(48))
    assert (sign == -1).sum() == 24


@pytest.mark.parametrize('name', FFX)
def test_ffx_is_none(name, key):
    if name == 'reference-FFX':
        pytest.importorskip('pyffx')
    with pytest.raises(
        ConfigError, match='shuffle, negative-positive or both, but got one that looks.*table.*No convolution'
    ):
        build_cipher(FFX[name], key).transform.signed_permutation()
