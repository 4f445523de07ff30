"""The order of channels between neighbouring layers, from their weights alone."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import nn

from mmseg_keyprotect.audit.estimators.channel_fit import standardised
from mmseg_keyprotect.models.backbones import Chain, Link, Part

USUAL = 0.3
"""The correlation of the same numbers of two neighbouring layers that the first round takes as usual."""

CAUTION = 0.8
"""Correlations are taken as this many times what the last round found, since it chose the order by them."""

LEAST = 0.15, 0.02
"""Correlations of vectors and of matrices below these are chance."""

ROUNDS = 100
"""Rounds at most."""


@dataclass
class Side:
    """What the layers of one link say of each channel, by what it is.

    Args:
        vectors: float64 (C,) each, with mean 0 and deviation 1.
        grams: float64 (C, C) each, standardised.
    """

    vectors: dict[str, np.ndarray] = field(default_factory=dict)
    grams: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, link: Link) -> Side:
        """Return what a link says."""
        side = cls()
        for number, (layer, norm) in enumerate(link.writes):
            side._add_matrix(f'write {number}', layer.weight, rows=True)
            side._add_vectors(f'write {number}', layer if norm is None else norm)
        for number, part in enumerate(link.reads):
            name = 'in_proj_weight' if isinstance(part, nn.MultiheadAttention) else 'weight'
            side._add_matrix(f'read {number}', getattr(part, name), rows=False)
        for number, part in enumerate(link.follows):
            side._add_vectors(f'norm {number}', part)
        return side

    def signed(self, signs: np.ndarray) -> Side:
        """Return the same with channels of sign -1 turned, where a number has the sign of its channel."""
        vectors = {name: one * signs if 'bias' in name else one for name, one in self.vectors.items()}
        return Side(vectors, {name: one * np.outer(signs, signs) for name, one in self.grams.items()})

    def _add_matrix(self, name: str, weight: Any, rows: bool) -> None:
        one = weight.detach().cpu().double().numpy()
        one = (one if rows else one.swapaxes(0, 1)).reshape(one.shape[0 if rows else 1], -1)
        self.grams[name] = standardised(one @ one.T)
        self._add(f'{name} size', np.log((one**2).sum(1) + 1e-12))

    def _add_vectors(self, name: str, part: Part) -> None:
        for word in ('weight', 'bias'):
            value = getattr(part, word, None)
            if value is not None and value.ndim == 1:
                one = value.detach().cpu().double().numpy()
                self._add(f'{name} {word}', abs(one) if word == 'weight' else one)

    def _add(self, name: str, one: np.ndarray) -> None:
        if one.std() > 1e-9 * (abs(one).max() + 1e-12):  # a constant says nothing
            self.vectors[name] = (one - one.mean()) / one.std()


def neighbours(chain: Chain, encrypted: Container[str]) -> Iterator[tuple[str, Link, Link]]:
    """Yield the last encrypted place between two links of a stream, and the two links."""
    for link, following in pairwise(chain.links):
        places = [name for name in link.places if name in encrypted]
        if places and following.open:
            yield places[-1], link, following


def match_sides(before: Side, after: Side) -> tuple[np.ndarray, bool]:
    """Return the order in which the channels behind a place are those before it.

    Each round assigns channels, given the correlations of all pairs of numbers in the order of the last round, then
    measures these correlations again. The first round takes the same numbers on both sides as alike.

    Args:
        before: What the layers before the place say.
        after: What those behind it say.

    Returns:
        int64 (C,), for each channel behind the place the one before it; and whether the rounds came to rest.
    """
    first, second = (np.array(list(side.vectors.values())) for side in (before, after))
    grams, others = (list(side.grams.values()) for side in (before, after))
    alike = USUAL * _same(before.vectors, after.vectors)
    related = USUAL * _same(before.grams, after.grams)
    source: np.ndarray | None = None
    for _ in range(ROUNDS):
        score = second.T @ _evidence(alike).T @ first
        if source is not None:
            for gram, row in zip(grams, _evidence(related), strict=True):
                moved = gram[source]
                score += sum(value * (other @ moved) for other, value in zip(others, row, strict=True) if value)
        again = linear_sum_assignment(score, maximize=True)[1]
        if source is not None and (again == source).all():
            return source, True
        source = again
        size = len(source)
        alike = first[:, source] @ second.T / size
        turned = np.ix_(source, source)
        related = np.array([[(one[turned] * other).sum() for other in others] for one in grams]) / (size * (size - 1))
        alike, related = (
            np.where(abs(one) > least, CAUTION * one, 0) for one, least in zip((alike, related), LEAST, strict=True)
        )
    assert source is not None, 'there is more than no round'
    return source, False


def _same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> np.ndarray:
    """Return where the names of two tables are the same, float64 (number of one, number of the other)."""
    return np.array([[float(name == another) for another in other] for name in one]).reshape(len(one), len(other))


def _evidence(correlation: np.ndarray) -> np.ndarray:
    """Return the weight of a product of two numbers in the logarithm of a normal likelihood."""
    return correlation / (1 - correlation**2)
