"""Format-preserving transform, FFX (docs/spec.md, section 3; arXiv 2107.09362)."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher, BlockOp, log2_binomial, log2_factorial
from mmseg_keyprotect.ciphers.blocks import Array, is_tensor
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.ciphers.negative_positive import keyed_half
from mmseg_keyprotect.errors import WrongKeyError
from mmseg_keyprotect.keys import SecretKey

DOMAIN = 1000
"""The encrypted values are 0 to 999: three decimal digits, as in the paper."""


def _wide(blocks: Array) -> Array:
    return blocks.long() if is_tensor(blocks) else blocks.astype(np.int64)


class Lookup(BlockOp):
    """A table for 8-bit samples at the keyed positions, the identity for the others.

    Args:
        keyed: bool (n,).
        table: int (256,), distinct values from 0 to 999.
    """

    def __init__(self, keyed: np.ndarray, table: np.ndarray) -> None:
        super().__init__()
        # Identity and table lie in one array, so that one look-up serves all positions.
        self.offset = np.where(keyed, 256, 0)
        self.table = np.concatenate([np.arange(256), table]).astype(np.int16)
        self.inverse_offset = np.where(keyed, DOMAIN, 0)
        self.inverse_table = np.full(2 * DOMAIN, -1, dtype=np.int16)
        self.inverse_table[:256] = self.inverse_table[DOMAIN + table] = np.arange(256)

    def encrypt(self, blocks: Array) -> Array:
        """Map 8-bit blocks (..., n) to uint16 (numpy) or int16 (torch)."""
        encrypted = self.constant('table', blocks)[_wide(blocks) + self.constant('offset', blocks)]
        return encrypted if is_tensor(blocks) else encrypted.astype(np.uint16)

    def decrypt(self, blocks: Array) -> Array:
        """Map uint16 or int16 blocks (..., n) back to 8 bits.

        Raises:
            WrongKeyError: A value is one that the table never gives.
        """
        values = _wide(blocks)
        known = bool(((values >= 0) & (values < DOMAIN)).all())
        if known:
            plain = self.constant('inverse_table', blocks)[values + self.constant('inverse_offset', blocks)]
            known = bool((plain >= 0).all())
        if not known:
            raise WrongKeyError(
                'Expected an image that was encrypted by ffx with this key, but got values that this key never '
                'produces. Decrypt with the key, the cipher and the block size that encrypted the image.'
            )
        return plain.byte() if is_tensor(blocks) else plain.astype(np.uint8)


class FFX(BlockCipher):
    """Map half of the samples of every block into 0 to 999 by a keyed random injection; the others stay.

    Key bits: as negative-positive, plus log2(1000! / 744!); none where a block has one sample, which is never keyed.
    """

    word = 'ffx'
    max_value = DOMAIN - 1

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        keyed = keyed_half(key, self.samples, f'ffx/M={self.block_size}/C={channels}')
        self.op = Lookup(keyed, permutation(key, DOMAIN, 'ffx-table')[:256])
        bits = log2_binomial(self.samples, keyed.sum()) + log2_factorial(DOMAIN) - log2_factorial(DOMAIN - 256)
        self.key_space_bits = min(bits, MAX_KEY_BITS) if keyed.any() else 0.0
