"""How much of a key an estimate has right, next to what a random key has right by chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.encryption import FeatureEncryption

SURE = 4.0
"""Standard deviations above chance from which on a share is no accident."""


@dataclass(frozen=True)
class Share:
    """Of one part of a key.

    Args:
        part: ``order`` (where samples come from), ``signs`` (which are inverted), ``positions`` (which are looked up),
            ``table`` (what looked-up samples become); ``channel order`` and ``channel signs`` of feature maps.
        right: 0 to 1.
        chance: What a random key has right on average, 0 to 1.
        count: Of how many independent positions.
    """

    part: str
    right: float
    chance: float
    count: int

    @property
    def sigmas(self) -> float:
        """Standard deviations above chance."""
        return (self.right - self.chance) / math.sqrt(max(self.chance * (1 - self.chance), 1e-9) / self.count)

    @property
    def above_chance(self) -> bool:
        """Whether it is no accident: far above chance, and at least two positions more than it."""
        return self.sigmas > SURE and (self.right - self.chance) * self.count > 2

    def __str__(self) -> str:
        return f'{self.part} {100 * self.right:.0f}% (chance {100 * self.chance:.0f}%)'


def key_shares(estimate: BlockTransform, correct: BlockTransform, form: Form) -> list[Share]:
    """Compare an estimate with the key, each part that the cipher has.

    Signs count where no table is looked up, since a table looked up with inverted samples is another table; tables
    are compared by what they do to a sample at each position.

    Args:
        estimate: Of the attacker, (n,).
        correct: The key, (n,).
        form: Which parts there are.
    """
    n, shares = form.samples, []
    if form.has_order:
        shares.append(Share('order', float((estimate.source == correct.source).mean()), 1 / n, n))
    plain = ~correct.keyed
    if form.has_signs and plain.any():
        flipped = (correct.mask > 0)[plain]
        share = float(((estimate.mask > 0)[plain] == flipped).mean())
        shares.append(Share('signs', share, _agreement(flipped), int(plain.sum())))
    if form.has_table:
        share = float((estimate.keyed == correct.keyed).mean())
        shares.append(Share('positions', share, _agreement(correct.keyed), n))
        if correct.keyed.any():
            right = (_outputs(estimate) == _outputs(correct))[correct.keyed].mean()
            shares.append(Share('table', float(right), 0.5 / DOMAIN, 256))
    return shares


def feature_shares(estimate: Mapping[str, BlockTransform], encryption: FeatureEncryption) -> list[Share]:
    """Compare an estimate of the transforms of channels with the correct ones, all places together.

    Args:
        estimate: Of the attacker, by the name of the place.
        encryption: With the correct key, transforms of channels alone.
    """
    correct = {name: function.steps[0].transform for name, function in encryption.functions.items()}
    order = np.concatenate([estimate[name].source == one.source for name, one in correct.items()])
    shares = []
    if any(one.moves for one in correct.values()):
        shares.append(Share('channel order', float(order.mean()), len(correct) / len(order), len(order)))
    flipped = np.concatenate([one.mask > 0 for one in correct.values()])
    if flipped.any():
        signs = np.concatenate([(estimate[name].mask > 0) == (one.mask > 0) for name, one in correct.items()])
        shares.append(Share('channel signs', float(signs.mean()), _agreement(flipped), len(flipped)))
    return shares


def _agreement(bits: np.ndarray) -> float:
    """Return how often a random key with as many ones agrees."""
    share = float(bits.mean())
    return share**2 + (1 - share) ** 2


def _outputs(transform: BlockTransform) -> np.ndarray:
    """Return what each position makes of each value, (n, 256); -1 where an estimate has no table."""
    values = np.arange(256) ^ transform.mask[:, None].astype(np.int64)
    table = np.full(256, -1) if transform.table is None else transform.table
    return np.where(transform.keyed[:, None], table[values], values)
