"""Quadratic assignment: the order in which one set of samples varies together as another does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmseg_keyprotect.audit.attack import Budget

FIRST_RANK = 4
MAX_ROUNDS = 20
"""With one rank."""


def match_features(seen: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Assign samples by what can be said of each on its own; a first guess for :func:`match`.

    Args:
        seen: (n, features).
        known: (n, features).

    Returns:
        int64 (n,): for each sample of ``seen`` its place in ``known``.
    """
    scale = known.std(0) + 1e-9
    return linear_sum_assignment(_distances(seen / scale, known / scale))[1]


def match(seen: Sequence[np.ndarray], known: Sequence[np.ndarray], source: np.ndarray, budget: Budget) -> np.ndarray:
    """Find ``source`` with ``seen[k, l]`` near ``known[source[k], source[l]]`` in every pair of matrices.

    Each round assigns all samples anew, given where the others are. The rows are compared in the leading eigenvectors
    of the first known matrix, a few of them first and twice as many each time: the few are smooth, so that they hardly
    notice samples that are a little out of place, which would hold each other there otherwise.

    Args:
        seen: Matrices (n, n), the first symmetric.
        known: As many.
        source: The first guess, int64 (n,).
        budget: The time to keep to.

    Returns:
        int64 (n,), the best order of all rounds, refined by swaps of two.
    """
    n = len(source)
    values, vectors = np.linalg.eigh(known[0])
    vectors = vectors[:, np.argsort(-abs(values))]
    best, least = source, mismatch(seen, known, source)
    ranks = [FIRST_RANK << step for step in range(n.bit_length()) if FIRST_RANK << step < n]
    for rank in [*ranks, n]:
        basis = vectors[:, :rank]
        wanted = np.hstack([part for matrix in known for part in (matrix @ basis, matrix.T @ basis)])
        for _ in range(MAX_ROUNDS):
            if budget.over:
                break
            moved = basis[source]
            found = np.hstack([part for matrix in seen for part in (matrix @ moved, matrix.T @ moved)])
            again = linear_sum_assignment(_distances(found, wanted))[1]
            if (again == source).all():
                break
            source = again
        cost = mismatch(seen, known, source)
        if cost < least:
            best, least = source, cost
    return _swap(seen, known, best, budget)


def mismatch(seen: Sequence[np.ndarray], known: Sequence[np.ndarray], source: np.ndarray) -> float:
    """Return the sum of squared differences that :func:`match` makes small."""
    return float(sum(((a - b[np.ix_(source, source)]) ** 2).sum() for a, b in zip(seen, known, strict=True)))


def _swap(seen: Sequence[np.ndarray], known: Sequence[np.ndarray], source: np.ndarray, budget: Budget) -> np.ndarray:
    """Give each sample in turn the partner that it gains most by swapping with, until no swap gains."""
    source, improved = source.copy(), True
    moved = [b[np.ix_(source, source)] for b in known]
    while improved:
        improved = False
        for k in range(len(source)):
            if budget.over:
                return source
            gains = sum(_gains(a, b, k) for a, b in zip(seen, moved, strict=True))
            other = int(gains.argmax())
            if gains[other] > 1e-9:
                improved = True
                pair = [k, other]
                source[pair] = source[pair[::-1]]
                for b in moved:
                    b[pair] = b[pair[::-1]]
                    b[:, pair] = b[:, pair[::-1]]
    return source


def _gains(a: np.ndarray, b: np.ndarray, k: int) -> np.ndarray:
    """Return by how much the sum of ``a * b`` grows where the samples k and s of ``b`` change places, for all s."""
    columns = a[:, k] @ b + b[:, k] @ a - (a * b).sum(0) - (a[:, k] * b[:, k]).sum()
    rows = b @ a[k] + a @ b[k] - (a * b).sum(1) - (a[k] * b[k]).sum()
    # what the sums say of the places k and s themselves, and what is true of them
    said = (a[k, k] - a[k]) * (b[k] - b[k, k]) + (a[:, k] - a.diagonal()) * (b.diagonal() - b[:, k])
    said += (a[k, k] - a[:, k]) * (b[:, k] - b[k, k]) + (a[k] - a.diagonal()) * (b.diagonal() - b[k])
    true = (a[k, k] - a.diagonal()) * (b.diagonal() - b[k, k]) + (a[k] - a[:, k]) * (b[:, k] - b[k])
    return columns + rows - said + true


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances of the rows of ``a`` from those of ``b``."""
    return (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
