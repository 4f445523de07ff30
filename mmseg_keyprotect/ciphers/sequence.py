"""Several ciphers after one another (docs/spec.md, section 3)."""

from __future__ import annotations

from functools import reduce

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError


class Sequence(BlockCipher):
    """Apply ciphers of one block size and one key from left to right; the key bits add up.

    Args:
        ciphers: At least one; each word at most once; ``ffx`` only as the last, its output is no longer 8-bit.

    Raises:
        ConfigError: The list is empty, repeats a cipher, or goes on after ``ffx``.
        BlockAlignmentError: The block sizes differ.
    """

    def __init__(self, ciphers: list[BlockCipher]) -> None:
        words = [cipher.word for cipher in ciphers]
        if not ciphers or len(set(words)) < len(words):
            raise ConfigError(
                f'Expected a sequence of at least one cipher and each at most once, but got {words}. '
                'A cipher that stands twice would use the same key material twice.'
            )
        if any(cipher.max_value > 255 for cipher in ciphers[:-1]):
            raise ConfigError(f'Expected ffx as the last cipher, since its output is not 8-bit, but got {words}.')
        sizes = sorted({cipher.block_size for cipher in ciphers})
        if len(sizes) > 1:
            raise BlockAlignmentError(f'Expected one block size for all ciphers of a sequence, but got {sizes}.')
        super().__init__(sizes[0], ciphers[0].key_id, ciphers[0].channels)
        self.word = '+'.join(words)
        self.max_value = ciphers[-1].max_value
        self.transform = reduce(BlockTransform.then, (cipher.transform for cipher in ciphers))
        self.key_space_bits = min(sum(cipher.key_space_bits for cipher in ciphers), MAX_KEY_BITS)
