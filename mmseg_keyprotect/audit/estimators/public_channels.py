"""The channels of a protected model beside those of the public model that it was made from."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.backbones import Chain, Part, adapter_of
from mmseg_keyprotect.models.features.encryption import FeatureEncryption

Pair = tuple[Tensor, Tensor]
"""What a weight of the protected model, and of the public one, has of each channel: (C, ...) both."""


@dataclass
class Stretch:
    """The part of a stream between two places; its channels are in one order.

    Args:
        places: The names of the encrypted places at its end, in order.
        order: Weights that show the order of the channels.
        signs: Weights that show their signs too.
    """

    places: list[str]
    order: list[Pair] = field(default_factory=list)
    signs: list[Pair] = field(default_factory=list)

    def match(self, has_order: bool) -> BlockTransform | None:
        """Return what makes the public channels those of the protected model; None where no weight shows it."""
        if not (self.order or self.signs):
            return None
        order, signs = sum(map(_alike, self.order)), sum(map(_alike, self.signs))
        alike = np.asarray(order + abs(signs))
        source = linear_sum_assignment(alike, maximize=True)[1] if has_order else np.arange(len(alike))
        if not self.signs:
            return BlockTransform(source)
        return BlockTransform(source, np.where(signs[np.arange(len(source)), source] < 0, 255, 0))


def _alike(pair: Pair) -> np.ndarray:
    """Return the product of each channel with each public one, (C, C); a perfect match adds up to 1."""
    seen, known = (one.detach().cpu().double().reshape(len(one), -1) for one in pair)
    return (seen @ known.T / (seen.norm() * known.norm()).clamp_min(1e-12)).numpy()


class PublicChannels:
    """What the public weights tell of the transforms of channels.

    Args:
        backbone: Of the protected model.
        encryption: Its places and its cipher.
        weights: The public model's state dict, of the segmentor or of the backbone alone.
    """

    def __init__(self, backbone: nn.Module, encryption: FeatureEncryption, weights: Mapping[str, Tensor]) -> None:
        self._weights, self._channels = weights, {place.name: place.channels for place in encryption.places}
        self._has_order, self._has_signs = encryption.cipher.has_order, encryption.cipher.has_signs
        named = itertools.chain(backbone.named_modules(), backbone.named_parameters())
        self._names = {id(part): name for name, part in named}
        self.streams = [(chain.signed, self._stretches(chain)) for chain in adapter_of(backbone).chains()]

    @property
    def compared(self) -> int:
        """The number of weights that are compared."""
        return sum(len(one.order) + len(one.signs) for _, stream in self.streams for one in stream if one.places)

    @property
    def hidden(self) -> int:
        """The number of places that nothing divides from the next, so that only what both do together shows."""
        return sum(len(one.places) - 1 for _, stream in self.streams for one in stream if one.places)

    def estimate(self) -> dict[str, BlockTransform]:
        """Return the transform of every place; where several follow one another, the last has all."""
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
        """Cut a stream at its places; from the first stretch to the last."""
        found = [Stretch([name for name in chain.tail_places if name in self._channels])]
        if chain.tail is not None:
            self._note(found[0], chain.tail, signed=True)
        for link in reversed(chain.links):
            places = [name for name in link.places if name in self._channels]
            if places and (found[0].order or found[0].signs):
                found.insert(0, Stretch(places))
            else:
                found[0].places = places + found[0].places
            for part, norm in link.writes:
                self._note(found[0], part, chain.signed and norm is None)
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
        """Note a part that writes to the stream."""
        if isinstance(part, nn.Parameter):  # of tokens
            self._add(stretch, part, '', signed, dim=-1)
        elif part is not None:
            for name in ('weight', 'bias'):
                self._add(stretch, part, name, signed)
            for name in ('running_mean', 'running_var'):  # of what comes before the signs
                self._add(stretch, part, name, False)

    def _add(self, stretch: Stretch, part: Part, tensor: str, signed: bool, dim: int = 0) -> None:
        seen = getattr(part, tensor, None) if tensor else part
        name = '.'.join(filter(None, (self._names[id(part)], tensor)))
        known = self._weights.get(f'backbone.{name}', self._weights.get(name))
        if seen is not None and known is not None and seen.shape == known.shape:  # a block stem has another shape
            pairs = stretch.signs if signed and self._has_signs else stretch.order
            pairs.append((seen.movedim(dim, 0), known.movedim(dim, 0)))
