"""Correlations of the samples of blocks, and of neighbouring blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.audit.cipher_info import CENTRE

MAX_CORRELATION = 0.9999
"""Keeps Fisher's transform finite."""


@dataclass
class BlockStatistics:
    """Correlations of the samples of blocks as Fisher's z, whose error is the same for all correlations.

    Args:
        within: float64 (n, n), between samples of one block; 0 on the diagonal.
        right: float64 (n, n), between samples of a block (rows) and those of its right neighbour (columns).
        below: float64 (n, n), between samples of a block (rows) and those of the block below (columns).
        mean: float64 (n,), the mean of each sample.
        deviation: float64 (n,), the standard deviation of each sample.
    """

    within: np.ndarray
    right: np.ndarray
    below: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, grids: Sequence[np.ndarray]) -> BlockStatistics:
        """Return the statistics of grids of blocks, each (rows, columns, n)."""
        flat = np.concatenate([grid.reshape(-1, grid.shape[-1]) for grid in grids]).astype(np.float64)
        mean, deviation = flat.mean(0), flat.std(0) + 1e-9
        flat = (flat - mean) / deviation
        within = flat.T @ flat / len(flat)
        right, below = np.zeros_like(within), np.zeros_like(within)
        count_right = count_below = 0
        for grid in grids:
            grid = (grid - mean) / deviation
            for total, first, second in ((right, grid[:, :-1], grid[:, 1:]), (below, grid[:-1], grid[1:])):
                total += first.reshape(-1, len(mean)).T @ second.reshape(-1, len(mean))
            count_right += grid.shape[0] * (grid.shape[1] - 1)
            count_below += (grid.shape[0] - 1) * grid.shape[1]
        within, right, below = (
            np.arctanh(np.clip(value, -MAX_CORRELATION, MAX_CORRELATION))
            for value in (within, right / max(count_right, 1), below / max(count_below, 1))
        )
        np.fill_diagonal(within, 0)
        return cls(within, right, below, mean, deviation)

    @property
    def matrices(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three correlation matrices."""
        return self.within, self.right, self.below

    def signs(self) -> np.ndarray:
        """Return the sign of each sample, (n,), 1 or -1, up to a global sign.

        Natural samples are positively correlated, so the signs are those of the leading eigenvector.
        """
        _, vectors = np.linalg.eigh(np.tanh(self.within))
        return np.where(vectors[:, -1] < 0, -1, 1)

    def signed(self, signs: np.ndarray) -> BlockStatistics:
        """Return the statistics after mirroring the samples of sign -1."""
        both = signs[:, None] * signs
        within, right, below = (both * value for value in self.matrices)
        mean = CENTRE + signs * (self.mean - CENTRE)
        return BlockStatistics(within, right, below, mean, self.deviation)

    def features(self) -> np.ndarray:
        """Return features of each sample that do not depend on the order of the others, float64 (n, features)."""
        sums = [matrix.mean(axis) for matrix in self.matrices for axis in (0, 1)]
        return np.stack([*sums, self.within.max(1), self.mean, self.deviation], axis=1)
