"""One chosen image, and the whole key is known."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform

BASE = 128
"""Of the digits that write positions: a digit d and its inverse 255 - d are never both below it."""


class ChosenImages(Attack):
    """Have one image encrypted: its blocks write the number of each position in digits, then all values in turn.

    All blocks are encrypted alike, so that a strip of blocks does what as many images of one block would. Shuffle and
    negative-positive take one block up to n = 128 samples, two up to 16384; a table takes 256 flat blocks more.
    """

    name = 'chosen-images'
    needs = ('encryptor',)

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Read the key off the encrypted image."""
        form, n = target.form, target.form.samples
        digits = 1 if n <= BASE else 2
        code = np.stack([np.arange(n) // BASE**power % BASE for power in range(digits)])
        flat = np.repeat(np.arange(256)[:, None], n, axis=1) if form.has_table else np.zeros((0, n), dtype=int)
        blocks = np.concatenate([code, flat]).astype(np.uint8)
        out = form.blocks([target.encrypt(form.strip(blocks))]).astype(np.int64)
        code_out, flat_out = out[:digits], out[digits:]
        if form.has_table:
            estimate = self._with_table(code_out, flat_out)
        else:
            flipped = code_out[0] >= BASE
            read = np.where(flipped, 255 - code_out, code_out)
            estimate = BlockTransform(_positions(read), np.where(flipped, 255, 0))
        return AttackResult(
            sentence=(
                f'One image of {form.block_size} x {len(blocks) * form.block_size} pixels shows everything; of images '
                f'of one block it takes {len(blocks)}.'
            ),
            key=estimate,
            images=1,
            queries=1,
        )

    def _with_table(self, code: np.ndarray, flat: np.ndarray) -> BlockTransform:
        """Read positions through the table that the flat blocks show; ``flat[v, k]`` is what v becomes at k."""
        values = np.arange(256)[:, None]
        plain, inverted = (flat == values).all(0), (flat == 255 - values).all(0)
        keyed = ~plain & ~inverted
        if not keyed.any():
            return BlockTransform(_positions(np.where(inverted, 255 - code, code)), np.where(inverted, 255, 0))
        table = flat[:, keyed.argmax()]
        mirrored = keyed & (flat != table[:, None]).any(0)  # looked up inverted, against the first
        read = np.empty_like(code)
        for k in range(code.shape[1]):
            inverse = {int(out): value for value, out in enumerate(flat[:, k])}
            read[:, k] = [inverse[int(out)] for out in code[:, k]]
        return BlockTransform(_positions(read), np.where(inverted | mirrored, 255, 0), keyed, table)


def _positions(digits: np.ndarray) -> np.ndarray:
    """Put numbers together from their digits, lowest first: (digits, n) to (n,)."""
    return (digits * BASE ** np.arange(len(digits))[:, None]).sum(0)
