"""A ciphertext-only attack: compare the statistics of encrypted images with those of natural images."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.estimators.block_statistics import BlockStatistics
from mmseg_keyprotect.audit.estimators.matching import match, match_features, mismatch
from mmseg_keyprotect.audit.estimators.objectives import whole_image_loss
from mmseg_keyprotect.audit.estimators.table_estimate import first_table, keyed_signs, read_table, refine_table
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.config.channels import RGB

ROUNDS = 3
"""Rounds of estimating the order given the table, then the table given the order."""


class PicturesAlone(Attack):
    """Read the key from statistics, which works because every block has the same key.

    Positions that are looked up in a table show values above 255. Samples of natural blocks are positively correlated,
    so a negative correlation shows an inverted sample. The histogram tells which of the two halves is inverted. The
    order is the one whose correlations, within blocks and with the blocks to the right and below, are as in other
    images. The table is read from the values that occur beside its own. Statistics hardly tell colours apart, so that
    the model, where the attacker has it, says which order of colours it knows.
    """

    name = 'pictures-alone'
    needs = ('encrypted images', 'plain images')
    uses = ('weights',)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Estimate positions, signs, table and order, in that order."""
        info, n = view.cipher_info, view.cipher_info.samples
        secret = [info.grid(image).astype(np.float64) for image in view.encrypted]
        natural = [info.grid(image).astype(np.float64) for image in view.plain]
        keyed = np.max([grid.max((0, 1)) for grid in secret], axis=0) > 255 if info.has_table else np.zeros(n, bool)
        signs = np.ones(n, dtype=int)
        if info.has_signs:
            signs[~keyed] = BlockStatistics.of([grid[..., ~keyed] for grid in secret]).signs()
            signs[~keyed] *= _global_sign([grid[..., ~keyed] for grid in secret], signs[~keyed], natural)
            if keyed.any():
                signs = keyed_signs(secret, keyed, signs)
        table = first_table(secret, natural, keyed, signs) if keyed.any() else None
        known = BlockStatistics.of(natural)
        source = np.arange(n)
        for number in range(ROUNDS if keyed.any() else 1):
            budget.report(f'round {number + 1}')
            if info.has_order:
                source = self._order(secret, known, keyed, signs, table, source if number else None, info, budget)
            if keyed.any():
                table = refine_table(secret, natural, keyed, signs, source)
            if budget.over:
                break
        mask = np.where(signs < 0, 255, 0)
        keys = [BlockTransform(order, mask, keyed, table) for order in (source, *other_colours(source, info))]
        sentence = f'Compared {len(secret)} encrypted images with {len(natural)} others.'
        if len(keys) > 1 and not (keyed.any() or view.lacks('weights') or view.feature_cipher):
            keys.sort(key=lambda key: whole_image_loss(view, key))
            sentence += ' The model chose the order of colours.'
        return AttackResult(sentence, key=keys[0], images=len(secret) + len(natural))

    def _order(
        self,
        secret: list[np.ndarray],
        known: BlockStatistics,
        keyed: np.ndarray,
        signs: np.ndarray,
        table: np.ndarray | None,
        source: np.ndarray | None,
        info: CipherInfo,
        budget: Budget,
    ) -> np.ndarray:
        grids = secret if table is None else [read_table(grid, keyed, table) for grid in secret]
        seen = BlockStatistics.of(grids).signed(signs)
        start = match_features(seen.features(), known.features()) if source is None else source
        source = match(seen.matrices, known.matrices, start, budget)
        # the statistics of the colours are nearly alike, so that all six orders are compared
        orders = (source, *other_colours(source, info))
        return min(orders, key=lambda order: mismatch(seen.matrices, known.matrices, order))


def other_colours(source: np.ndarray, info: CipherInfo) -> list[np.ndarray]:
    """Return an order of samples with its three colours in the five other orders; nothing for other images."""
    if info.channels != RGB or not info.has_order:
        return []
    return [source // RGB * RGB + np.array(order)[source % RGB] for order in list(permutations(range(RGB)))[1:]]


def _global_sign(secret: list[np.ndarray], signs: np.ndarray, natural: list[np.ndarray]) -> int:
    """Return 1 if these signs make the histogram of all samples more natural, or -1 if their opposites do."""
    usual = np.log(_histogram(natural, np.ones(natural[0].shape[-1])) + 1e-6)
    likelihood = [(_histogram(secret, way * signs) * usual).sum() for way in (1, -1)]
    return 1 if likelihood[0] >= likelihood[1] else -1


def _histogram(grids: list[np.ndarray], signs: np.ndarray) -> np.ndarray:
    """Return the shares of the values 0 to 255, after inverting the samples of sign -1: float64 (256,)."""
    values = np.concatenate([np.where(signs < 0, 255 - grid, grid).ravel() for grid in grids])
    return np.bincount(values.astype(int), minlength=256) / len(values)
