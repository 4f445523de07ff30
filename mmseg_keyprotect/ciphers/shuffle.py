"""Pixel shuffling, SHF (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, BlockOp, log2_factorial
from mmseg_keyprotect.ciphers.blocks import Array
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.keys import SecretKey


class Gather(BlockOp):
    """``y[k] = x[order[k]]`` for samples of any dtype.

    Args:
        order: int64 (n,), a permutation.
    """

    def __init__(self, order: np.ndarray) -> None:
        super().__init__()
        self.order = order
        self.inverse = np.argsort(order)

    def encrypt(self, blocks: Array) -> Array:
        """Permute blocks (..., n)."""
        return blocks[..., self.constant('order', blocks)]

    def decrypt(self, blocks: Array) -> Array:
        """Permute blocks (..., n) back."""
        return blocks[..., self.constant('inverse', blocks)]

    def signed_permutation(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the order and no change of sign."""
        return self.order, np.ones(samples, dtype=np.int8)


class Shuffle(BlockCipher):
    """Permute the samples of every block, channels included; log2(n!) key bits."""

    word = 'shuffle'

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        self.op = Gather(permutation(key, self.samples, f'shuffle/M={self.block_size}/C={channels}'))
        self.key_space_bits = min(log2_factorial(self.samples), MAX_KEY_BITS)
