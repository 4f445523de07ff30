"""A chosen-plaintext attack: one chosen image reveals the whole key."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform

BASE = 128
"""The base of the digits that encode positions: a digit d and its inverse 255 - d are never both below it."""


class ChosenImages(Attack):
    """Have one image encrypted whose first blocks encode the positions, and whose other blocks hold all values in turn.

    All blocks are encrypted alike, so a strip of blocks replaces as many images of one block. Shuffle and
    negative-positive take one block for up to n = 128 samples, and two for up to 16384. A table takes 256 more blocks,
    each of one value.
    """

    name = 'chosen-images'
    needs = ('encryptor',)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Read the key from the encrypted image."""
        info, n = view.cipher_info, view.cipher_info.samples
        digits = 1 if n <= BASE else 2
        code = np.stack([np.arange(n) // BASE**power % BASE for power in range(digits)])
        flat = np.repeat(np.arange(256)[:, None], n, axis=1) if info.has_table else np.zeros((0, n), dtype=int)
        blocks = np.concatenate([code, flat]).astype(np.uint8)
        out = info.blocks([view.encrypt(info.image(blocks[np.newaxis]))]).astype(np.int64)
        code_out, flat_out = out[:digits], out[digits:]
        if info.has_table:
            estimate = self._with_table(code_out, flat_out)
        else:
            flipped = code_out[0] >= BASE
            read = np.where(flipped, 255 - code_out, code_out)
            estimate = BlockTransform(_positions(read), np.where(flipped, 255, 0))
        return AttackResult(
            sentence=(
                f'One image of {info.block_size} x {len(blocks) * info.block_size} pixels reveals the key; with images '
                f'of one block it takes {len(blocks)}.'
            ),
            key=estimate,
            images=1,
            queries=1,
        )

    def _with_table(self, code: np.ndarray, flat: np.ndarray) -> BlockTransform:
        """Read the positions through the table; ``flat[v, k]`` is the output for the value v at position k."""
        values = np.arange(256)[:, None]
        plain, inverted = (flat == values).all(0), (flat == 255 - values).all(0)
        keyed = ~plain & ~inverted
        if not keyed.any():
            return BlockTransform(_positions(np.where(inverted, 255 - code, code)), np.where(inverted, 255, 0))
        table = flat[:, keyed.argmax()]
        mirrored = keyed & (flat != table[:, None]).any(0)  # inverted before the lookup, relative to the first
        read = np.empty_like(code)
        for k in range(code.shape[1]):
            inverse = {int(out): value for value, out in enumerate(flat[:, k])}
            read[:, k] = [inverse[int(out)] for out in code[:, k]]
        return BlockTransform(_positions(read), np.where(inverted | mirrored, 255, 0), keyed, table)


def _positions(digits: np.ndarray) -> np.ndarray:
    """Combine digits, lowest first, into numbers: (digits, n) to (n,)."""
    return (digits * BASE ** np.arange(len(digits))[:, None]).sum(0)
