"""Quadratic assignment: find the order in which one set of samples has the correlations of another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from mmseg_keyprotect.audit.budget import Budget

FIRST_RANK = 4
"""The number of eigenvectors to begin with."""

MAX_ROUNDS = 20
"""Rounds with one number of eigenvectors, at most."""


def match_features(seen: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Assign samples by features of each sample alone, as a first guess for ``match``.

    Args:
        seen: float64 (n, features).
        known: float64 (n, features).

    Returns:
        int64 (n,): for each sample of ``seen`` its place in ``known``.
    """
    scale = known.std(0) + 1e-9
    return linear_sum_assignment(_distances(seen / scale, known / scale))[1]


def match(seen: Sequence[np.ndarray], known: Sequence[np.ndarray], source: np.ndarray, budget: Budget) -> np.ndarray:
    """Find ``source`` so that ``seen[k, l]`` is near ``known[source[k], source[l]]`` in every pair of matrices.

    Each round assigns all samples again, given the places of the others. Rows are compared in the basis of the leading
    eigenvectors of the first known matrix, a few of them first and twice as many each time. The first few are smooth,
    so they are insensitive to samples that are slightly out of place, which would otherwise hold each other there.

    Args:
        seen: Matrices float64 (n, n), the first symmetric.
        known: As many matrices.
        source: The first guess, int64 (n,).
        budget: The time limit.

    Returns:
        int64 (n,), the best order of all rounds, refined by pairwise swaps.
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
    """Return the sum of squared differences that ``match`` minimises."""
    return float(sum(((a - b[np.ix_(source, source)]) ** 2).sum() for a, b in zip(seen, known, strict=True)))


def _swap(seen: Sequence[np.ndarray], known: Sequence[np.ndarray], source: np.ndarray, budget: Budget) -> np.ndarray:
    """Swap each sample in turn with the best partner, until no swap is an improvement."""
    source, improved = source.copy(), True
    moved = [b[np.ix_(source, source)] for b in known]
    while improved:
        improved = False
        for k in range(len(source)):
            if budget.over:
                return source
            gains = sum((_gains(a, b, k) for a, b in zip(seen, moved, strict=True)), np.zeros(len(source)))
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
    """Return, for all s, by how much the sum of ``a * b`` grows if the samples k and s of ``b`` are swapped."""
    columns = a[:, k] @ b + b[:, k] @ a - (a * b).sum(0) - (a[:, k] * b[:, k]).sum()
    rows = b @ a[k] + a @ b[k] - (a * b).sum(1) - (a[k] * b[k]).sum()
    # the sums treat the entries at k and s wrongly: replace their terms by the true ones
    summed = (a[k, k] - a[k]) * (b[k] - b[k, k]) + (a[:, k] - a.diagonal()) * (b.diagonal() - b[:, k])
    summed += (a[k, k] - a[:, k]) * (b[:, k] - b[k, k]) + (a[k] - a.diagonal()) * (b.diagonal() - b[k])
    true = (a[k, k] - a.diagonal()) * (b.diagonal() - b[k, k]) + (a[k] - a[:, k]) * (b[:, k] - b[k])
    return columns + rows - summed + true


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the squared distances between the rows of ``a`` and those of ``b``."""
    return (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)
