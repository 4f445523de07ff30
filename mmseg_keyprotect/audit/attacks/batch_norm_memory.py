"""Recover the key of feature maps from what the layers behind them keep, without labels and without training."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.attacks.neighbour_layers import NeighbourLayers
from mmseg_keyprotect.audit.attacks.pictures_alone import PicturesAlone
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.channel_memory import remember
from mmseg_keyprotect.audit.estimators.channel_search import find_order
from mmseg_keyprotect.audit.estimators.norm_gains import GainSigns
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform


class BatchNormMemory(Attack):
    """Search for the order of channels whose statistics the following layers keep, place by place from the input on.

    Several attacks in a row. The key of images comes from statistics of the pictures, as in ``pictures-alone``; the
    signs from the gains of normalisation layers, as in ``norm-gain-signs``; and the order between two layers, where no
    convolution reads it, from ``neighbour-layers``. The model then computes the first encrypted map of plain images.
    The layers that read it expect another order of its channels, and keep traces of it: a batch norm the means and
    spreads of what a convolution made of them, a bias the mean, and each convolution the correlations of its inputs, in
    its own columns. The order that fits best is used to compute the next map.
    """

    name = 'batch-norm-memory'
    needs = ('weights', 'plain images')
    uses = ('encrypted images',)
    seeks = 'feature maps'

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Search, place by place."""
        if not view.sought_feature_cipher.has_order:
            raise NotApplicable('the key changes no order')
        key, images = None, len(view.plain)
        if not view.lacks('encrypted images'):
            pictures = PicturesAlone().run(view, budget)
            key, images = pictures.key, pictures.images
        signs, places = GainSigns(view), view.feature_places
        found = signs.unordered() | _neighbours(view, budget)
        rng, said, stopped = np.random.default_rng(0), [], ''
        for number, place in enumerate(places):
            before = {**found, place.name: BlockTransform(np.arange(place.channels))}
            if (memory := remember(view, place, key, before)) is None:
                continue
            if place.name in signs.before:
                memory = memory.signed(signs.before[place.name])
            budget.report(place.name)
            seconds = (budget.seconds - budget.spent) / (len(places) - number)  # what one place leaves, the others get
            order = find_order(memory, budget, seconds, rng)
            found[place.name] = signs.transform(place.name, order.source)
            said.append(f'{place.name}: energy {order.energy:.0f}, random {order.random:.0f}')
            if not (order.agreed or stopped):
                stopped = f'{number} of {len(places)} places'
        if not said:
            raise NotApplicable('no convolution reads an encrypted map')
        return AttackResult('; '.join(said) + '.', key=key, features=found, images=images, stopped=stopped)


def _neighbours(view: View, budget: Budget) -> dict[str, BlockTransform]:
    """Return what neighbouring layers show; nothing if no place has neighbours."""
    try:
        return dict(NeighbourLayers().run(view, budget).features or {})
    except NotApplicable:
        return {}
