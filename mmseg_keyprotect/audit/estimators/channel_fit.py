"""How well an order of channels fits what the layers behind a feature map show of it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

LEAST = 1e-4
"""Added to mean squares and variances before the logarithm, so that no fit is perfect."""

SLOPE = 0.2
"""The correlation of the Gram matrix of a reader with the correlations of its channels that is taken as usual."""


@dataclass
class Memory:
    """What the layers that read a feature map (the readers) show of it, and what an attacker measures of it.

    Args:
        weights: float64 (O, C), the weights of the readers whose outputs have known means, each row over the spread of
            its output. O may be 0.
        means: float64 (O,), the means of the outputs over the same spreads.
        spread: The number of outputs, the first of them, whose spread is known too.
        mean: float64 (C,), the measured mean of each channel.
        covariance: float64 (C, C), the measured covariance of the channels.
        grams: float64 (C, C) each, the products of all pairs of columns of a reader.
    """

    weights: np.ndarray
    means: np.ndarray
    spread: int
    mean: np.ndarray
    covariance: np.ndarray
    grams: list[np.ndarray] = field(default_factory=list)

    def signed(self, signs: np.ndarray) -> Memory:
        """Return the memory with channels of sign -1 inverted as they are measured."""
        turned = self.covariance * np.outer(signs, signs)
        return Memory(self.weights, self.means, self.spread, self.mean * signs, turned, self.grams)


class ChannelFit:
    """The energy of an order of channels: the negative logarithm of its likelihood, up to a constant.

    Right orders give outputs with the means and the spreads that the readers have kept. Their channels correlate where
    the columns of the readers do, since a step of training adds a multiple of its input to the weights.
    The errors are taken as normal, with variances that are fitted along, so that nothing has to be weighted by hand.
    For a search, fixed variances are better far from the right order.

    Args:
        memory: The statistics.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> weights, mean = rng.normal(size=(64, 8)), rng.normal(size=8)
        >>> spreads = np.sqrt((weights**2).sum(1))[:, None]
        >>> memory = Memory(weights / spreads, weights @ mean / spreads[:, 0], 64, mean, np.eye(8))
        >>> fit = ChannelFit(memory)
        >>> fit.energy(np.arange(8)) < fit.energy(np.roll(np.arange(8), 1))
        True
    """

    def __init__(self, memory: Memory) -> None:
        self.memory, self.channels = memory, len(memory.mean)
        self.related = standardised(memory.covariance)
        self.columns = sum((SLOPE / 2 * standardised(gram) for gram in memory.grams), np.zeros_like(self.related))

    def energy(self, source: np.ndarray) -> float:
        """Return the energy if channel k is channel ``source[k]`` of the measured ones; lower is better."""
        memory, turned = self.memory, np.ix_(source, source)
        shift = memory.weights @ memory.mean[source] - memory.means
        rows = memory.weights[: memory.spread]
        variances = ((rows @ memory.covariance[turned]) * rows).sum(1)
        alike = float((self.columns * self.related[turned]).sum())
        return float(self.combine(shift[:, None], variances[:, None], np.array([alike]))[0])

    def combine(
        self, shift: np.ndarray, variances: np.ndarray, alike: npt.NDArray[np.floating], noise: float | None = None
    ) -> np.ndarray:
        """Return the energies of N orders.

        Args:
            shift: (O, N), the differences of the means of the outputs from the kept ones.
            variances: (S, N), the variances of the outputs whose spread is known; 1 where the order is right.
            alike: (N,), the sums of products of related pairs.
            noise: The variance of the errors; None fits it.

        Returns:
            (N,).
        """
        energy = -alike
        for errors in (shift, np.log(variances.clip(0) + LEAST) / 2):
            if len(errors):
                square = errors.var(0)
                energy = energy + len(errors) / 2 * (np.log(square + LEAST) if noise is None else square / noise)
        return energy


class Arrangement:
    """An order of channels, with what it takes to compare it with all orders that are one swap away.

    Args:
        fit: The energy.
        source: int64 (C,), the order to begin with.
    """

    def __init__(self, fit: ChannelFit, source: np.ndarray) -> None:
        self.fit, self.source = fit, source.copy()
        memory, turned = fit.memory, np.ix_(source, source)
        self._weights, self._columns = (one.astype(np.float32) for one in (memory.weights, fit.columns))
        self._mean = memory.mean[source].astype(np.float32)
        self._covariance = memory.covariance[turned].astype(np.float32)
        self._related = fit.related[turned].astype(np.float32)
        self.settle()

    def energies(self, k: int, noise: float | None = None) -> np.ndarray:
        """Return the energies after a swap of channel k with each channel, up to one constant; float32 (C,)."""
        apart = self._weights - self._weights[:, [k]]
        shift = self._shift[:, None] + apart * (self._mean[k] - self._mean)
        joint = self._covariance[k, k] + self._covariance.diagonal() - 2 * self._covariance[k]
        apart, products = apart[: self.fit.memory.spread], self._products
        variances = self._variances[:, None] + 2 * apart * (products[:, [k]] - products) + apart**2 * joint
        return self.fit.combine(shift, variances, _gains(self._columns, self._related, k), noise)

    def swap(self, k: int, other: int) -> None:
        """Swap two channels."""
        pair, turned = [k, other], [other, k]
        apart = self._weights[:, k] - self._weights[:, other]
        self._shift += apart * (self._mean[other] - self._mean[k])
        self._products += np.outer(apart[: len(self._products)], self._covariance[other] - self._covariance[k])
        self._products[:, pair] = self._products[:, turned]
        self.source[pair] = self.source[turned]
        self._mean[pair] = self._mean[turned]
        for matrix in (self._covariance, self._related):
            matrix[pair] = matrix[turned]
            matrix[:, pair] = matrix[:, turned]
        self._variances = (self._products * self._weights[: len(self._products)]).sum(1)

    def settle(self) -> None:
        """Compute the sums anew, which swaps keep up to rounding."""
        self._shift = self._weights @ self._mean - self.fit.memory.means.astype(np.float32)
        self._products = self._weights[: self.fit.memory.spread] @ self._covariance
        self._variances = (self._products * self._weights[: len(self._products)]).sum(1)


def _gains(one: np.ndarray, other: np.ndarray, k: int) -> np.ndarray:
    """Return by how much the sum of ``one * other`` grows if channel k of ``other`` is swapped with each channel.

    Both are symmetric, and zero on the diagonal.
    """
    left, right = one[k] - one, other - other[k]
    return 2 * ((left * right).sum(1) + 2 * one[k] * other[k])


def standardised(matrix: np.ndarray) -> np.ndarray:
    """Return the correlations of a covariance matrix, with mean 0 and deviation 1 beside the diagonal and 0 on it."""
    spread = np.sqrt(matrix.diagonal().clip(1e-12))
    beside = ~np.eye(len(matrix), dtype=bool)
    values = (matrix / np.outer(spread, spread))[beside]
    found = np.zeros_like(matrix)
    found[beside] = (values - values.mean()) / max(values.std(), 1e-12)
    return found
