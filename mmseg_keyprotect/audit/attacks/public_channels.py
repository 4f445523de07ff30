"""Recover the key of feature maps without a search, by matching channels with those of the public model."""

from __future__ import annotations

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.public_channels import PublicChannels
from mmseg_keyprotect.audit.view import View


class MatchPublicChannels(Attack):
    """Compare the weights with those of the public model.

    A bound model is the public model with its channels reordered and some signs flipped, so that comparing weights
    matches them at once.
    """

    name = 'public-channels'
    needs = ('weights', 'public weights')
    seeks = 'feature maps'

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Match channels."""
        weights = view.public_weights
        assert weights is not None, 'the attack needs public weights'
        public = PublicChannels(view.model.backbone, view.feature_places, view.sought_feature_cipher, weights)
        if not public.compared:
            raise NotApplicable('the public weights have none of the layers that reveal the key')
        sentence = f'Compared with {public.compared} weights of the public model.'
        if public.hidden:
            sentence += f' {public.hidden} places have no weight before the next place: only their product is revealed.'
        if view.cipher_info.bits:
            sentence += ' Images stayed plain.'
        return AttackResult(sentence, features=public.estimate())
