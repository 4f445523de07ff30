"""Negative/positive transform, NP (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, log2_binomial
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey


def keyed_half(key: SecretKey, samples: int, label: str) -> np.ndarray:
    """Choose floor(n/2) of n positions by the key: a bool array of shape (n,)."""
    keyed = np.zeros(samples, dtype=bool)
    keyed[permutation(key, samples, label)[: samples // 2]] = True
    return keyed


class NegativePositive(BlockCipher):
    """Invert half of the samples of every block; log2 of n choose floor(n/2) key bits."""

    word = 'negative-positive'

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        keyed = keyed_half(key, self.samples, f'negative-positive/M={self.block_size}/C={channels}')
        self.transform = BlockTransform.flip(keyed)
        self.key_space_bits = min(log2_binomial(self.samples, self.samples // 2), MAX_KEY_BITS)
