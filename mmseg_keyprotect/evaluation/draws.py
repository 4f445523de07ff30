"""Statistics of random draws: several keys of one kind, each of which would have given another figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import mean, stdev
from typing import Any

MOST_DIGITS = 2
"""The most decimals of a shown accuracy."""

UNKNOWN_SPREAD = 1
"""The decimals of a random figure whose spread is unknown, because it was drawn once."""


@dataclass(frozen=True)
class Draws:
    """The same quantity, measured with several random keys.

    Args:
        values: One value for each key, at least one.

    Example:
        >>> draws = Draws([54.3, 26.1, 31.0, 40.2, 35.4])
        >>> draws.shown(draws.mean), draws.shown(draws.spread), draws.worst, draws.chance_of_worse
        ('37', '11', 54.3, Fraction(1, 6))
    """

    values: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean."""
        return mean(self.values)

    @property
    def spread(self) -> float | None:
        """The standard deviation (n - 1); None for a single draw."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def worst(self) -> float:
        """The highest value, which is the worst for the owner."""
        return max(self.values)

    @property
    def chance_of_worse(self) -> Fraction:
        """An upper bound for the chance that another random key exceeds ``worst``.

        The N drawn keys and the next one are drawn alike, so that each is the highest of the N + 1 with chance
        1/(N + 1), or less if some are equal.
        """
        return Fraction(1, len(self.values) + 1)

    def shown(self, value: float | None) -> str:
        """Return a value of this kind as text without digits beyond the spread; None gives an empty text."""
        return '' if value is None else f'{value:.{decimals(self.spread)}f}'

    def to_dict(self) -> dict[str, Any]:
        """Return the statistics as plain JSON types."""
        return dict(
            draws=len(self.values),
            mean=round(self.mean, 4),
            spread=None if self.spread is None else round(self.spread, 4),
            worst=self.worst,
            chance_of_worse=round(float(self.chance_of_worse), 4),
        )


def decimals(spread: float | None) -> int:
    """Return the number of decimals up to the first digit of the spread, 0 to 2.

    Example:
        >>> [decimals(spread) for spread in (12.0, 1.5, 0.4, 0.02, 0.0, None)]
        [0, 0, 1, 2, 2, 1]
    """
    if spread is None:
        return UNKNOWN_SPREAD
    return MOST_DIGITS if spread == 0 else min(MOST_DIGITS, max(0, -math.floor(math.log10(spread))))
