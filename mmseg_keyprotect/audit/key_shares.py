"""Score an estimate of a key: how much of it is right, and how much a random key would have right."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.encryption import FeatureEncryption

SURE = 4.0
"""From this many standard deviations above chance a share counts as found."""


@dataclass(frozen=True)
class Share:
    """The recovered share of one part of a key.

    Args:
        part: ``order`` (where samples come from), ``signs`` (which samples are inverted), ``positions`` (which are
            looked up) or ``table`` (what looked-up samples become); for feature maps ``channel order`` or
            ``channel signs``.
        right: The share that is right, 0 to 1.
        chance: The share that a random key has right on average, 0 to 1.
        count: The number of independent positions.

    Example:
        >>> share = Share('signs', right=1.0, chance=0.5, count=48)
        >>> share.above_chance, str(share)
        (True, 'signs 100% (chance 50%)')
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
        """Whether the share is significant: far above chance, and by more than two positions."""
        return self.sigmas > SURE and (self.right - self.chance) * self.count > 2

    def __str__(self) -> str:
        return f'{self.part} {100 * self.right:.0f}% (chance {100 * self.chance:.0f}%)'


def key_shares(estimate: BlockTransform, correct: BlockTransform, info: CipherInfo) -> list[Share]:
    """Compare an estimate with the key, for each part that the cipher has.

    Signs are scored only where no table is looked up, because a table for inverted samples is another table. Tables are
    scored by what they do to each value at each position.

    Args:
        estimate: The attacker's estimate for blocks of n samples.
        correct: The key.
        info: The facts about the cipher.
    """
    n, shares = info.samples, []
    if info.has_order:
        shares.append(Share('order', float((estimate.source == correct.source).mean()), 1 / n, n))
    plain = ~correct.keyed
    if info.has_signs and plain.any():
        flipped = (correct.mask > 0)[plain]
        share = float(((estimate.mask > 0)[plain] == flipped).mean())
        shares.append(Share('signs', share, _agreement(flipped), int(plain.sum())))
    if info.has_table:
        share = float((estimate.keyed == correct.keyed).mean())
        shares.append(Share('positions', share, _agreement(correct.keyed), n))
        if correct.keyed.any():
            right = (_outputs(estimate) == _outputs(correct))[correct.keyed].mean()
            shares.append(Share('table', float(right), 0.5 / DOMAIN, 256))
    return shares


def feature_shares(estimate: Mapping[str, BlockTransform], encryption: FeatureEncryption) -> list[Share]:
    """Compare estimates of the transforms of channels with the correct ones, all places together.

    A sign belongs to the channel that it changes, wherever an estimate puts this channel.

    Args:
        estimate: The attacker's estimates, by the name of the place.
        encryption: The encryption with the correct key; it must transform channels only.
    """
    correct = {name: function.steps[0].transform for name, function in encryption.keyed_functions.items()}
    order = np.concatenate([estimate[name].source == one.source for name, one in correct.items()])
    shares = []
    if any(one.moves for one in correct.values()):
        shares.append(Share('channel order', float(order.mean()), len(correct) / len(order), len(order)))
    flipped = np.concatenate([one.inverse().mask > 0 for one in correct.values()])
    if flipped.any():
        signs = np.concatenate([estimate[name].inverse().mask > 0 for name in correct]) == flipped
        shares.append(Share('channel signs', float(signs.mean()), _agreement(flipped), len(flipped)))
    return shares


def _agreement(bits: np.ndarray) -> float:
    """Return the expected agreement of a random key with as many ones."""
    share = float(bits.mean())
    return share**2 + (1 - share) ** 2


def _outputs(transform: BlockTransform) -> np.ndarray:
    """Return the output of each position for each value, int64 (n, 256); -1 if an estimate has no table."""
    values = np.arange(256) ^ transform.mask[:, None].astype(np.int64)
    table = np.full(256, -1) if transform.table is None else transform.table
    return np.where(transform.keyed[:, None], table[values], values)
