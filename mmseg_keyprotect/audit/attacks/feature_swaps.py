"""Search for the key of feature maps step by step: swap two channels, or flip the sign of one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.audit.attacks.hill_climbing import HillClimbing, Loss
from mmseg_keyprotect.audit.estimators.objectives import LabelledLoss
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform

Keys = Mapping[str, BlockTransform]
"""The transforms of channels, by the name of the place."""


class FeatureSwaps(HillClimbing):
    """Hill climbing over the channels of all places at once, guided by the labels of a few images."""

    name = 'feature-swaps'
    needs = ('weights', 'plain images', 'labels')
    seeks = 'feature maps'

    def loss(self, view: View, count: int) -> Loss:
        """Return the cross-entropy; images are plain."""
        return partial(LabelledLoss(view, count), None)

    def draw(self, view: View, rng: np.random.Generator) -> Keys:
        """Draw a key for every place."""
        cipher = view.sought_feature_cipher
        found = {}
        for place in view.feature_places:
            half = rng.permutation(place.channels) < place.channels // 2
            source = rng.permutation(place.channels) if cipher.has_order else None
            found[place.name] = BlockTransform(source, np.where(half & cipher.has_signs, 255, 0))
        return found

    def change(self, key: Keys, view: View, rng: np.random.Generator) -> Keys:
        """Return a key one step away at one place; every channel is equally likely."""
        cipher = view.sought_feature_cipher
        names = np.repeat(list(key), [one.samples for one in key.values()])
        name = str(rng.choice(names))
        source, mask = key[name].source.copy(), key[name].mask.copy()
        if cipher.has_order and not (cipher.has_signs and rng.random() < 0.5):
            one, other = rng.choice(len(source), 2, replace=False)
            source[[one, other]] = source[[other, one]]
        else:
            mask[rng.integers(len(mask))] ^= 255
        return {**key, name: BlockTransform(source, mask)}

    def steps(self, view: View) -> int:
        """Return the number of keys that are one step away."""
        cipher = view.sought_feature_cipher
        channels = [place.channels for place in view.feature_places]
        return sum(n * (n - 1) // 2 * cipher.has_order + n * cipher.has_signs for n in channels)

    def result(self, view: View, sentence: str, key: Keys, images: int) -> AttackResult:
        """Return the result with the best key."""
        stayed = ' Images stayed plain.' if view.cipher_info.bits else ''
        return AttackResult(sentence + stayed, features=key, images=images)
