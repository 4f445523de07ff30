"""Negative/positive transform, NP (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, BlockOp, log2_binomial
from mmseg_keyprotect.ciphers.blocks import Array
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.keys import SecretKey


def keyed_half(key: SecretKey, samples: int, label: str) -> np.ndarray:
    """Choose floor(n/2) of n positions by the key: a bool array of shape (n,)."""
    keyed = np.zeros(samples, dtype=bool)
    keyed[permutation(key, samples, label)[: samples // 2]] = True
    return keyed


class Flip(BlockOp):
    """``y[k] = 255 - x[k]`` for 8-bit samples at the keyed positions.

    Args:
        keyed: bool (n,).
    """

    def __init__(self, keyed: np.ndarray) -> None:
        super().__init__()
        self.mask = np.where(keyed, np.uint8(255), np.uint8(0))

    def encrypt(self, blocks: Array) -> Array:
        """Invert the keyed samples of blocks (..., n); 255 - x equals x XOR 255."""
        return blocks ^ self.constant('mask', blocks)

    decrypt = encrypt

    def signed_permutation(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return no change of order, and -1 at the keyed positions: 255 - x mirrors x at 127.5."""
        return np.arange(samples), np.where(self.mask > 0, np.int8(-1), np.int8(1))


class NegativePositive(BlockCipher):
    """Invert half of the samples of every block; log2 of n choose floor(n/2) key bits."""

    word = 'negative-positive'

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        self.op = Flip(keyed_half(key, self.samples, f'negative-positive/M={self.block_size}/C={channels}'))
        self.key_space_bits = min(log2_binomial(self.samples, self.samples // 2), MAX_KEY_BITS)
