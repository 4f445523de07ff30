"""Recover the order of channels between neighbouring layers from the weights alone."""

from __future__ import annotations

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.neighbours import Side, match_sides, neighbours
from mmseg_keyprotect.audit.estimators.norm_gains import GainSigns
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.models.backbones import adapter_of


class NeighbourLayers(Attack):
    """Match the layers before and behind each place inside a stream of channels.

    A residual connection carries the same channels from layer to layer. So in a trained network a channel that is
    large, or has a large bias, in one layer is so in the next; and channels that are written or read alike are so
    again. No image and no public model is needed. Correlations are measured along with the order.
    """

    name = 'neighbour-layers'
    needs = ('weights',)
    seeks = 'feature maps'

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Match, place by place."""
        if not view.sought_feature_cipher.has_order:
            raise NotApplicable('the key changes no order')
        signs = GainSigns(view)
        found = signs.unordered()
        settled, tried = 0, 0
        for chain in adapter_of(view.model.backbone).chains():
            for name, *links in neighbours(chain, found):
                if budget.over:
                    break
                sides = [Side.of(link) for link in links]
                if name in signs.before:
                    sides = [
                        side.signed(one)
                        for side, one in zip(sides, (signs.before[name], signs.after[name]), strict=True)
                    ]
                source, rest = match_sides(*sides)
                found[name] = signs.transform(name, source)
                tried, settled = tried + 1, settled + rest
                budget.report(f'{tried} places')
        if not tried and not budget.over:
            raise NotApplicable('no encrypted place lies between two layers of one stream')
        stayed = ' Images stayed plain.' if view.cipher_info.bits else ''
        sentence = f'{tried} of {len(found)} places compared with their neighbours; {settled} came to rest.{stayed}'
        return AttackResult(sentence, features=found)
