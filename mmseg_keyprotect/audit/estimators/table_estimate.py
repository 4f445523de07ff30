"""Estimate a keyed table (ffx) from the plain samples beside its values: half of the samples of a block stay plain."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.optimize import linear_sum_assignment

from mmseg_keyprotect.ciphers.kernels import DOMAIN

SMOOTH = 2.0
"""The standard deviation, in grey values, by which the natural joint histogram is smoothed."""


def read_table(grid: np.ndarray, keyed: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Invert a table on a grid of blocks, (rows, columns, n); values that it never gives become 127.5."""
    inverse = np.full(DOMAIN, 127.5)
    inverse[table] = np.arange(256)
    return np.where(keyed, inverse[grid.astype(int)], grid)


def keyed_signs(secret: list[np.ndarray], keyed: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Find which samples were inverted before the lookup, relative to the other looked-up samples.

    For an inverted sample, the brightness of the plain samples beside each value of the table is reversed.

    Args:
        secret: Grids of encrypted blocks, (rows, columns, n).
        keyed: bool (n,), where the table is looked up.
        signs: (n,), 1 or -1; those of plain samples are right.

    Returns:
        (n,), 1 or -1; those of plain samples are unchanged.
    """
    count, total = _beside(secret, keyed, signs)
    overall = total.sum(1, keepdims=True) / count.sum(1, keepdims=True)
    brightness = np.sqrt(count) * (total / np.maximum(count, 1) - overall)  # weighted by frequency
    _, vectors = np.linalg.eigh(brightness @ brightness.T)
    signs = signs.copy()
    signs[keyed] = np.where(vectors[:, -1] * vectors[:, -1].sum() < 0, -1, 1)
    return signs


def first_table(
    secret: list[np.ndarray], natural: list[np.ndarray], keyed: np.ndarray, signs: np.ndarray
) -> np.ndarray:
    """Estimate the table without knowing the order of samples.

    The brighter the plain samples of a block, the larger the values that were looked up. The values of the table are
    ranked by that brightness, and each gets the grey value at the same quantile.

    Args:
        secret: Grids of encrypted blocks, (rows, columns, n).
        natural: Grids of natural blocks.
        keyed: bool (n,), where the table is looked up.
        signs: (n,), 1 or -1.

    Returns:
        int64 (256,), distinct values.
    """
    count, total = _beside(secret, keyed, signs)
    mirrored = signs[keyed] < 0
    total[mirrored] = 255 * count[mirrored] - total[mirrored]
    count, total = count.sum(0), total.sum(0)
    seen = np.flatnonzero(count)
    ranked = seen[np.argsort(total[seen] / count[seen])]
    places = (np.cumsum(count[ranked]) - count[ranked] / 2) / count.sum()
    values = np.concatenate([grid.reshape(-1, len(keyed))[:, : keyed.sum()] for grid in natural])
    wanted = np.quantile(np.where(mirrored, 255 - values, values), places)
    return _assign(ranked, np.abs(wanted[:, None] - np.arange(256)))


def _beside(secret: list[np.ndarray], keyed: np.ndarray, signs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the count of each value at each keyed position and the summed brightness beside it, (k, 1000) both."""
    positions = np.arange(keyed.sum()) * DOMAIN
    size = len(positions) * DOMAIN
    count, total = np.zeros(size), np.zeros(size)
    for grid in secret:
        plain = grid[..., ~keyed]
        brightness = np.where(signs[~keyed] < 0, 255 - plain, plain).mean(-1, keepdims=True)
        places = (grid[..., keyed].astype(int) + positions).ravel()
        count += np.bincount(places, minlength=size)
        total += np.bincount(places, np.repeat(brightness, len(positions)), minlength=size)
    return count.reshape(-1, DOMAIN), total.reshape(-1, DOMAIN)


def refine_table(
    secret: list[np.ndarray], natural: list[np.ndarray], keyed: np.ndarray, signs: np.ndarray, source: np.ndarray
) -> np.ndarray:
    """Find the most likely table, given the order of samples.

    The witness of a keyed position is the plain position that is most correlated with it. The joint frequencies of the
    values of the table and of the witness are compared with those of grey values in natural images.

    Args:
        secret: Grids of encrypted blocks, (rows, columns, n).
        natural: Grids of natural blocks.
        keyed: bool (n,), where the table is looked up.
        signs: (n,), 1 or -1.
        source: int64 (n,), the order of samples.

    Returns:
        int64 (256,), distinct values.
    """
    flat_secret, flat_natural = (
        np.concatenate([g.reshape(-1, len(keyed)) for g in grids]) for grids in (secret, natural)
    )
    correlation = np.corrcoef(flat_natural.T)[np.ix_(source, source)]
    plain = np.flatnonzero(~keyed)
    outputs, usual = np.zeros((DOMAIN, 256)), np.zeros((256, 256))
    for k in np.flatnonzero(keyed):
        witness = plain[correlation[k, plain].argmax()]
        beside = flat_secret[:, witness]
        beside = 255 - beside if signs[witness] < 0 else beside
        looked_up = flat_natural[:, source[k]]
        looked_up = 255 - looked_up if signs[k] < 0 else looked_up
        np.add.at(outputs, (flat_secret[:, k].astype(int), beside.astype(int)), 1)
        np.add.at(usual, (looked_up.astype(int), flat_natural[:, source[witness]].astype(int)), 1)
    usual = gaussian_filter(usual, SMOOTH) + 1e-4
    likely = np.log(usual / usual.sum(1, keepdims=True))
    frequent = np.log(gaussian_filter(usual.sum(1), SMOOTH) / usual.sum())
    seen = np.flatnonzero(outputs.sum(1))
    costs = -outputs[seen] @ (likely + frequent[:, None]).T
    return _assign(seen, costs)


def _assign(seen: np.ndarray, costs: np.ndarray) -> np.ndarray:
    """Assign values of the table (rows) to grey values (columns) at the least cost; fill the rest with free values."""
    rows, columns = linear_sum_assignment(costs)
    table = np.full(256, -1)
    table[columns] = seen[rows]
    missing = table < 0
    table[missing] = np.setdiff1d(np.arange(DOMAIN), table)[: missing.sum()]
    return table
