"""Search for the key of feature maps step by step: two channels change places, or one its sign."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.audit.attacks.hill_climbing import HillClimbing, Loss
from mmseg_keyprotect.audit.estimators.objectives import LabelledLoss
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform

Keys = Mapping[str, BlockTransform]
"""The transforms of channels, by the name of the place."""


class FeatureSwaps(HillClimbing):
    """Hill climbing over the channels of all places at once, led by the labels of a few images."""

    name = 'feature-swaps'
    needs = ('weights', 'plain images', 'labels')
    seeks = 'feature maps'

    def loss(self, target: Target, count: int) -> Loss:
        """Return the cross-entropy; images are plain."""
        return partial(LabelledLoss(target, count), None)

    def draw(self, target: Target, rng: np.random.Generator) -> Keys:
        """Draw a key of every place."""
        cipher = target.features.cipher
        found = {}
        for place in target.features.places:
            half = rng.permutation(place.channels) < place.channels // 2
            source = rng.permutation(place.channels) if cipher.has_order else None
            found[place.name] = BlockTransform(source, np.where(half & cipher.has_signs, 255, 0))
        return found

    def change(self, key: Keys, target: Target, rng: np.random.Generator) -> Keys:
        """Take one step at one place; each channel has its turn as often."""
        cipher = target.features.cipher
        names = np.repeat(list(key), [one.samples for one in key.values()])
        name = str(rng.choice(names))
        source, mask = key[name].source.copy(), key[name].mask.copy()
        if cipher.has_order and not (cipher.has_signs and rng.random() < 0.5):
            one, other = rng.choice(len(source), 2, replace=False)
            source[[one, other]] = source[[other, one]]
        else:
            mask[rng.integers(len(mask))] ^= 255
        return {**key, name: BlockTransform(source, mask)}

    def steps(self, target: Target) -> int:
        """Return how many keys are one step away."""
        cipher = target.features.cipher
        channels = [place.channels for place in target.features.places]
        return sum(n * (n - 1) // 2 * cipher.has_order + n * cipher.has_signs for n in channels)

    def result(self, target: Target, sentence: str, key: Keys, images: int) -> AttackResult:
        """Return what was found."""
        return AttackResult(sentence + ' Images stayed plain.' * bool(target.form.bits), features=key, images=images)
