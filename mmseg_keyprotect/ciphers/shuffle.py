"""Pixel shuffling, SHF (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, log2_factorial
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.registry import register_cipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey


@register_cipher
class Shuffle(BlockCipher):
    """Permutes the samples of every block, channels included.

    The cipher has log2(n!) key bits.

    Args:
        block_size: M, in pixels.
        key: The secret key.
        channels: C, the number of channels of the images.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> cipher = Shuffle(4, SecretKey.generate())
        >>> cipher.name, round(cipher.key_space_bits)
        ('shuffle/M=4', 203)
    """

    word = 'shuffle'
    has_order = True

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        self.transform = BlockTransform(permutation(key, self.samples, f'shuffle/M={self.block_size}/C={channels}'))
        self.key_space_bits = min(log2_factorial(self.samples), MAX_KEY_BITS)
