"""Recover the key of feature maps without a search, by matching channels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.channel_memory import remember
from mmseg_keyprotect.audit.estimators.public_channels import PublicChannels
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform


class FeatureStatistics(Attack):
    """Match the channels with those of the public model, or with the statistics that batch norms keep.

    A bound model is the public model with its channels reordered and some signs flipped, so that comparing weights
    matches them at once. Without a public model, plain images show the mean and the spread of each channel of the
    first encrypted map. The batch norm behind the 1x1 convolution that reads the map keeps those of the training. The
    attack matches the two, then goes on to the next place.
    """

    name = 'feature-statistics'
    needs = ('weights', 'plain images')
    uses = ('public weights',)
    seeks = 'feature maps'

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Match channels."""
        if (weights := view.public_weights) is not None:
            return self._by_public_model(view, weights)
        if view.cipher_info.bits:
            raise NotApplicable('without public weights the attack needs a network that takes plain images')
        return self._by_memory(view, budget)

    def _by_public_model(self, view: View, weights: Mapping[str, Tensor]) -> AttackResult:
        public = PublicChannels(view.model.backbone, view.feature_places, view.sought_feature_cipher, weights)
        if not public.compared:
            raise NotApplicable('the public weights have none of the layers that reveal the key')
        sentence = f'Compared with {public.compared} weights of the public model.'
        if public.hidden:
            sentence += f' {public.hidden} places have no weight before the next place: only their product is revealed.'
        if view.cipher_info.bits:
            sentence += ' Images stayed plain.'
        return AttackResult(sentence, features=public.estimate())

    def _by_memory(self, view: View, budget: Budget) -> AttackResult:
        cipher, places = view.sought_feature_cipher, view.feature_places
        found = {place.name: BlockTransform(np.arange(place.channels)) for place in places}
        for number, place in enumerate(places):
            if budget.over or (memory := remember(view, place, found)) is None:
                break
            found[place.name] = memory.match(cipher.has_order, cipher.has_signs)
            budget.report(f'{number + 1} of {len(places)} places')
        else:
            number = len(places)
        if not number and not budget.over:
            raise NotApplicable('no batch norm keeps statistics of what was read from the first encrypted map')
        sentence = f'{number} of {len(places)} places matched with the statistics of batch norms.'
        return AttackResult(sentence, features=found, images=len(view.plain))
