"""Negative/positive transform, NP (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, log2_binomial
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.registry import register_cipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey


def keyed_half(key: SecretKey, samples: int, label: str) -> npt.NDArray[np.bool_]:
    """Choose floor(n/2) of n positions by the key.

    Args:
        key: The secret key.
        samples: n.
        label: What the choice is for; every label gives an independent choice.

    Returns:
        bool (n,), True at the chosen positions.

    Example:
        >>> int(keyed_half(SecretKey.generate(), 49, 'my-purpose').sum())
        24
    """
    keyed = np.zeros(samples, dtype=bool)
    keyed[permutation(key, samples, label)[: samples // 2]] = True
    return keyed


@register_cipher
class NegativePositive(BlockCipher):
    """Inverts half of the samples of every block, 255 - x.

    The cipher has log2 of n choose floor(n/2) key bits.

    Args:
        block_size: M, in pixels.
        key: The secret key.
        channels: C, the number of channels of the images.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> cipher = NegativePositive(4, SecretKey.generate())
        >>> sorted(set(cipher.encrypt(np.zeros((4, 4, 3), dtype=np.uint8)).reshape(-1).tolist()))
        [0, 255]
    """

    word = 'negative-positive'
    has_signs = True

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        keyed = keyed_half(key, self.samples, f'negative-positive/M={self.block_size}/C={channels}')
        self.transform = BlockTransform.flip(keyed)
        self.key_space_bits = min(log2_binomial(self.samples, self.samples // 2), MAX_KEY_BITS)
