"""The key of feature maps without any search: channels beside those of a public model, or beside what is remembered."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.estimators.channel_memory import remember
from mmseg_keyprotect.audit.estimators.public_channels import PublicChannels
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform


class FeatureStatistics(Attack):
    """Match the channels with those of the public model, or with the statistics that batch norms keep.

    A bound model is the public one with other names and signs for its channels, so that they are found again at once.
    Without a public model plain images show the mean and spread of each channel of the first encrypted map, and the
    batch norm behind the 1x1 convolution that reads the map those that it had in training; they are matched, and so on
    from place to place.
    """

    name = 'feature-statistics'
    needs = ('weights', 'plain images')
    seeks = 'feature maps'

    def refusal(self, target: Target) -> str | None:
        """Say where there is nothing to compare with."""
        if target.public_weights is None and target.form.bits:
            return 'Not tried: without public weights it needs a network that takes plain images.'
        return None

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Match channels."""
        if target.public_weights is None:
            return self._by_memory(target, budget)
        public = PublicChannels(target.model.backbone, target.features, target.public_weights)
        if not public.compared:
            return AttackResult('Not tried: the public weights have none of the layers that show the key.')
        said = f'Compared with {public.compared} weights of the public model.'
        if public.hidden:
            said += f' {public.hidden} places have no weight between them and the next: both show as one there.'
        if target.form.bits:
            said += ' Images stayed plain.'
        return AttackResult(said, features=public.estimate())

    def _by_memory(self, target: Target, budget: Budget) -> AttackResult:
        cipher, places = target.features.cipher, target.features.places
        found = {place.name: BlockTransform(np.arange(place.channels)) for place in places}
        for number, place in enumerate(places):
            if budget.over or (memory := remember(target, place, found)) is None:
                break
            found[place.name] = memory.match(cipher.has_order, cipher.has_signs)
            budget.say(f'{number + 1} of {len(places)} places')
        else:
            number = len(places)
        if not number and not budget.over:
            return AttackResult('Not tried: no batch norm remembers what was read from the first encrypted map.')
        said = f'{number} of {len(places)} places matched with what batch norms remember.'
        return AttackResult(said, features=found, images=len(target.plain))
