"""The signs of channels that the gains of normalisation layers show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor, nn

from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.backbones import Chain, adapter_of


class GainSigns:
    """Reads the signs of channels off a bound backbone.

    A gain begins at 1 and stays positive in training. Binding a model to ``FeatureSign`` writes the signs into
    the gains of the normalisation before a place, so that a negative gain is a changed sign.

    Args:
        view: A view with weights, of a model with encrypted feature maps. No signs show where its key changes none.

    Attributes:
        before: For each place whose signs show, int64 (C,), the signs of the channels that it gets; 1 or -1.
        after: The signs of the channels that the layers behind the place expect; 1 everywhere but between two places.
    """

    def __init__(self, view: View) -> None:
        self._channels = {place.name: place.channels for place in view.feature_places}
        self.before: dict[str, np.ndarray] = {}
        self.after: dict[str, np.ndarray] = {}
        if view.sought_feature_cipher.has_signs:
            for chain in adapter_of(view.model.backbone).chains():
                self._follow(chain)

    def unordered(self) -> dict[str, BlockTransform]:
        """Return the transform of every place that has these signs and changes no order."""
        return {name: self.transform(name, np.arange(channels)) for name, channels in self._channels.items()}

    def transform(self, place: str, source: np.ndarray) -> BlockTransform:
        """Return the transform of a place that has an order, with the signs that the gains show.

        Args:
            place: The name of the place.
            source: int64 (C,), the order.
        """
        if place not in self.before:
            return BlockTransform(source)
        return BlockTransform(source, np.where(self.before[place][source] != self.after[place], 255, 0))

    def _follow(self, chain: Chain) -> None:
        """Note the signs at the places of a chain, from the last to the first."""
        if chain.tail is not None:
            self._note(chain.tail_places, [chain.tail], None)
        if not chain.signed:
            return
        places, after = list(chain.tail_places if chain.tail is None else ()), None
        for link in reversed(chain.links):
            norms = [norm for _, norm in link.writes if norm is not None]
            after = self._note([*link.places, *places], norms, after)
            places = []
            if not link.open:
                return

    def _note(self, places: Sequence[str], norms: Sequence[nn.Module], after: np.ndarray | None) -> np.ndarray | None:
        """Note the signs at some places in a row, the last of which gets all of them.

        Args:
            places: The names of the places.
            norms: The normalisation layers before them.
            after: The signs behind them; None where they are plain.

        Returns:
            The signs that the gains show; None without a normalisation.
        """
        weights = (getattr(norm, 'weight', None) for norm in norms)
        gains = [weight.detach().cpu().numpy() for weight in weights if isinstance(weight, Tensor)]
        if not gains:
            return None
        signs = np.where(sum(np.sign(gain) for gain in gains) < 0, -1, 1)
        if names := [name for name in places if name in self._channels]:
            self.before[names[-1]] = signs
            self.after[names[-1]] = np.ones_like(signs) if after is None else after
        return signs
