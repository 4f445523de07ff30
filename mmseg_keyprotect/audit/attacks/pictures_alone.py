"""Encrypted images alone, compared with what natural images are like."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.estimators.block_statistics import BlockStatistics
from mmseg_keyprotect.audit.estimators.matching import match, match_features, mismatch
from mmseg_keyprotect.audit.estimators.table_estimate import first_table, keyed_signs, read_table, refine_table
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform

ROUNDS = 3
"""Of the table, given the order, and the order, given the table."""


class PicturesAlone(Attack):
    """Read the key from statistics, since it is the same in every block.

    Positions looked up in a table show values above 255. Samples of natural blocks vary together, so that a negative
    correlation shows an inverted one; which of the two halves is inverted the histogram tells. The order is where the
    correlations within blocks, and those with the blocks to the right and below, look as they do in other images. A
    table is read from what its values occur with.
    """

    name = 'pictures-alone'
    needs = ('encrypted images', 'plain images')

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Estimate positions, signs, table and order, in that order."""
        form, n = target.form, target.form.samples
        secret = [form.grid(image).astype(np.float64) for image in target.encrypted]
        natural = [form.grid(image).astype(np.float64) for image in target.plain]
        keyed = np.max([grid.max((0, 1)) for grid in secret], axis=0) > 255 if form.has_table else np.zeros(n, bool)
        signs = np.ones(n, dtype=int)
        if form.has_signs:
            signs[~keyed] = BlockStatistics.of([grid[..., ~keyed] for grid in secret]).signs()
            signs[~keyed] *= _global_sign([grid[..., ~keyed] for grid in secret], signs[~keyed], natural)
            if keyed.any():
                signs = keyed_signs(secret, keyed, signs)
        table = first_table(secret, natural, keyed, signs) if keyed.any() else None
        known = BlockStatistics.of(natural)
        source = np.arange(n)
        for number in range(ROUNDS if keyed.any() else 1):
            budget.say(f'round {number + 1}')
            if form.has_order:
                source = self._order(secret, known, keyed, signs, table, source if number else None, budget)
            if keyed.any():
                table = refine_table(secret, natural, keyed, signs, source)
            if budget.over:
                break
        mask = np.where(signs < 0, 255, 0)
        images = len(secret) + len(natural)
        return AttackResult(
            sentence=f'From {len(secret)} encrypted images, compared with {len(natural)} others.',
            key=BlockTransform(source, mask, keyed, table),
            images=images,
        )

    def _order(
        self,
        secret: list[np.ndarray],
        known: BlockStatistics,
        keyed: np.ndarray,
        signs: np.ndarray,
        table: np.ndarray | None,
        source: np.ndarray | None,
        budget: Budget,
    ) -> np.ndarray:
        grids = secret if table is None else [read_table(grid, keyed, table) for grid in secret]
        seen = BlockStatistics.of(grids).signed(signs)
        start = match_features(seen.features(), known.features()) if source is None else source
        source = match(seen.matrices, known.matrices, start, budget)
        colours = [source // 3 * 3 + np.array(order)[source % 3] for order in permutations(range(3))]  # all but alike
        return min(colours, key=lambda order: mismatch(seen.matrices, known.matrices, order))


def _global_sign(secret: list[np.ndarray], signs: np.ndarray, natural: list[np.ndarray]) -> int:
    """Tell by the histogram of all samples whether the signs or their opposites make the images natural."""
    usual = np.log(_histogram(natural, np.ones(natural[0].shape[-1])) + 1e-6)
    likelihood = [(_histogram(secret, way * signs) * usual).sum() for way in (1, -1)]
    return 1 if likelihood[0] >= likelihood[1] else -1


def _histogram(grids: list[np.ndarray], signs: np.ndarray) -> np.ndarray:
    """Return the shares of the values 0 to 255, samples of sign -1 inverted."""
    values = np.concatenate([np.where(signs < 0, 255 - grid, grid).ravel() for grid in grids])
    return np.bincount(values.astype(int), minlength=256) / len(values)
