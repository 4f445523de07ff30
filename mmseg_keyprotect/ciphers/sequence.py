"""A sequence of ciphers (docs/spec.md, section 3)."""

from __future__ import annotations

from functools import reduce

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError


class Sequence(BlockCipher):
    """Applies ciphers of one block size and one key from left to right. The key bits add up.

    Args:
        ciphers: At least one, each word at most once. A cipher whose output is not 8-bit, such as ``ffx``, is the last.

    Raises:
        ConfigError: The list is empty, repeats a cipher, or continues after an output that is not 8-bit.
        BlockAlignmentError: The block sizes differ.

    Example:
        >>> key = SecretKey.generate()
        >>> cipher = Sequence([Shuffle(4, key), NegativePositive(4, key)])
        >>> cipher.name, round(cipher.key_space_bits)
        ('shuffle+negative-positive/M=4', 248)
    """

    selectable = False

    def __init__(self, ciphers: list[BlockCipher]) -> None:
        words = [cipher.word for cipher in ciphers]
        if not ciphers or len(set(words)) < len(words):
            raise ConfigError(
                f'Expected a sequence of at least one cipher and each at most once, but got {words}. '
                'A cipher that is listed twice would use the same key material twice; remove one.'
            )
        wide = [cipher.word for cipher in ciphers[:-1] if cipher.max_value > 255]
        if wide:
            raise ConfigError(
                f'Expected {wide[0]} as the last cipher, since its output is not 8-bit, but got {words}. Move it '
                'to the end.'
            )
        sizes = sorted({cipher.block_size for cipher in ciphers})
        if len(sizes) > 1:
            raise BlockAlignmentError(
                f'Expected one block size for all ciphers of a sequence, but got {sizes}. Use one.'
            )
        super().__init__(sizes[0], ciphers[0].key_id, ciphers[0].channels)
        self.word = '+'.join(words)
        self.has_order = any(cipher.has_order for cipher in ciphers)
        self.has_signs = any(cipher.has_signs for cipher in ciphers)
        self.has_table = any(cipher.has_table for cipher in ciphers)
        self.from_seed = all(cipher.from_seed for cipher in ciphers)
        self.max_value = ciphers[-1].max_value
        self.transform = reduce(BlockTransform.then, (cipher.transform for cipher in ciphers))
        self.key_space_bits = min(sum(cipher.key_space_bits for cipher in ciphers), MAX_KEY_BITS)
