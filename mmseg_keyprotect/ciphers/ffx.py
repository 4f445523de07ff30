"""Format-preserving transform, FFX (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, log2_binomial, log2_factorial
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.negative_positive import keyed_half
from mmseg_keyprotect.ciphers.registry import register_cipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey


@register_cipher
class FFX(BlockCipher):
    """Maps half of the samples of every block into 0 to 999 by a keyed random injection; the others stay.

    The cipher has the key bits of negative-positive plus log2(1000! / 744!). A block of one sample has no key bits,
    because that sample is never mapped.

    Args:
        block_size: M, in pixels.
        key: The secret key.
        channels: C, the number of channels of the images.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> FFX(4, SecretKey.generate()).max_value
        999
    """

    word = 'ffx'
    has_table = True
    max_value = DOMAIN - 1

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        keyed = keyed_half(key, self.samples, f'ffx/M={self.block_size}/C={channels}')
        self.transform = BlockTransform(keyed=keyed, table=permutation(key, DOMAIN, 'ffx-table')[:256])
        bits = log2_binomial(self.samples, keyed.sum()) + log2_factorial(DOMAIN) - log2_factorial(DOMAIN - 256)
        self.key_space_bits = min(bits, MAX_KEY_BITS) if keyed.any() else 0.0
