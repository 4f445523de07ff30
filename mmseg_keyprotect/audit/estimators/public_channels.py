"""Match the channels of a protected model with those of the public model that it was made from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.feature_ciphers import FeatureCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.backbones import Chain, Part, adapter_of
from mmseg_keyprotect.models.features.places import Place

Pair = tuple[Tensor, Tensor]
"""A weight of the protected model and the same weight of the public one, channels first: (C, ...) both."""


@dataclass
class Stretch:
    """The part of a stream of channels between two encrypted places; all its layers have one order of channels.

    Args:
        places: The names of the encrypted places at its end, in order.
        order: Weights that reveal the order of the channels.
        signs: Weights that also reveal the signs.
    """

    places: list[str]
    order: list[Pair] = field(default_factory=list)
    signs: list[Pair] = field(default_factory=list)

    def match(self, has_order: bool) -> BlockTransform | None:
        """Return the transform from the public to the protected channels; None if no weight reveals it."""
        if not (self.order or self.signs):
            return None
        nothing = np.zeros((1, 1))  # has any size beside the sum of the other weights
        order, signs = sum(map(_alike, self.order), nothing), sum(map(_alike, self.signs), nothing)
        alike = order + abs(signs)
        source = linear_sum_assignment(alike, maximize=True)[1] if has_order else np.arange(len(alike))
        if not self.signs:
            return BlockTransform(source)
        return BlockTransform(source, np.where(signs[np.arange(len(source)), source] < 0, 255, 0))


def _alike(pair: Pair) -> np.ndarray:
    """Return the products of all channels with all public ones, float64 (C, C); a perfect match sums to 1."""
    seen, known = (one.detach().cpu().double().reshape(len(one), -1) for one in pair)
    return (seen @ known.T / (seen.norm() * known.norm()).clamp_min(1e-12)).numpy()


class PublicChannels:
    """What the public weights reveal about the transforms of channels.

    Args:
        backbone: The backbone of the protected model.
        places: The encrypted places.
        cipher: The cipher of feature maps; it must transform channels only.
        weights: The public model's state dict, of the segmentor or of the backbone alone.
    """

    def __init__(
        self, backbone: nn.Module, places: Sequence[Place], cipher: FeatureCipher, weights: Mapping[str, Tensor]
    ) -> None:
        self._weights, self._channels = weights, {place.name: place.channels for place in places}
        self._has_order, self._has_signs = cipher.has_order, cipher.has_signs
        named = itertools.chain(backbone.named_modules(), backbone.named_parameters())
        self._names = {id(part): name for name, part in named}
        self.streams = [(chain.signed, self._stretches(chain)) for chain in adapter_of(backbone).chains()]

    @property
    def compared(self) -> int:
        """The number of compared weights."""
        return sum(len(one.order) + len(one.signs) for _, stream in self.streams for one in stream if one.places)

    @property
    def hidden(self) -> int:
        """The number of places without a weight before the next place, so that only their product is revealed."""
        return sum(len(one.places) - 1 for _, stream in self.streams for one in stream if one.places)

    def estimate(self) -> dict[str, BlockTransform]:
        """Return the transform of every place; of several consecutive places the last gets the product."""
        found = {name: BlockTransform(np.arange(channels)) for name, channels in self._channels.items()}
        for signed, stream in self.streams:
            after = None
            for stretch in reversed([one for one in stream if one.places]):
                order = stretch.match(self._has_order)
                if order is not None:
                    undone = order.inverse()
                    found[stretch.places[-1]] = undone if after is None else undone.then(after)
                    after = order if signed else BlockTransform(order.source)
        return found

    def _stretches(self, chain: Chain) -> list[Stretch]:
        """Cut a stream at its encrypted places, and return the parts from first to last."""
        found = [Stretch([name for name in chain.tail_places if name in self._channels])]
        if chain.tail is not None:
            self._note(found[0], chain.tail, signed=True)
        for link in reversed(chain.links):
            places = [name for name in link.places if name in self._channels]
            if places and (found[0].order or found[0].signs):
                found.insert(0, Stretch(places))
            else:
                found[0].places = places + found[0].places
            for writer, norm in link.writes:
                self._note(found[0], writer, chain.signed and norm is None)
                self._note(found[0], norm, chain.signed)
            for part in link.follows:
                self._note(found[0], part, chain.signed)
            for part in link.reads:
                name = 'in_proj_weight' if isinstance(part, nn.MultiheadAttention) else 'weight'
                self._add(found[0], part, name, chain.signed, dim=1)
            if not link.open:
                break
        return found

    def _note(self, stretch: Stretch, part: Part | None, signed: bool) -> None:
        """Add the weights of a part that writes to the stream."""
        if isinstance(part, nn.Parameter):  # of tokens
            self._add(stretch, part, '', signed, dim=-1)
        elif part is not None:
            for name in ('weight', 'bias'):
                self._add(stretch, part, name, signed)
            for name in ('running_mean', 'running_var'):  # the statistics of what comes before the signs
                self._add(stretch, part, name, False)

    def _add(self, stretch: Stretch, part: Part, tensor: str, signed: bool, dim: int = 0) -> None:
        seen = part if isinstance(part, nn.Parameter) else getattr(part, tensor, None)
        name = '.'.join(filter(None, (self._names[id(part)], tensor)))
        known = self._weights.get(f'backbone.{name}', self._weights.get(name))
        if seen is not None and known is not None and seen.shape == known.shape:  # the shape of a block stem differs
            pairs = stretch.signs if signed and self._has_signs else stretch.order
            pairs.append((seen.movedim(dim, 0), known.movedim(dim, 0)))
