"""What a network remembers of a feature map: the batch norm behind the convolution that reads it first."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment, nnls
from torch import Tensor, nn

from mmseg_keyprotect.audit.estimators.objectives import norms_that_know
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.places import Place

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""How far the statistics of single channels are drawn to zero, as parts of the mean square of a column."""

SPREADS = (0.0, 0.3, 1.0, 3.0)
"""How much the spread of a channel counts beside its mean."""

FLOOR = 1e-3


@dataclass
class Memory:
    """Readers of a feature map, and the map as it is now.

    Args:
        weights: Of the readers, (O, C), over the spread that each of their outputs is remembered with.
        means: Of their outputs, remembered, over the same spread, (O,).
        mean: Of each channel now, (C,).
        covariance: Of the channels now, (C, C).
    """

    weights: np.ndarray
    means: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def mismatch(self, source: np.ndarray, signs: np.ndarray) -> float:
        """Return how far the outputs are from what is remembered, if the channels are ``signs * x[source]``."""
        covariance = self.covariance[np.ix_(source, source)] * np.outer(signs, signs)
        shift = self.weights @ (signs * self.mean[source]) - self.means
        variance = ((self.weights @ covariance) * self.weights).sum(1)
        return float((shift**2).mean() + (np.log(variance.clip(0) + FLOOR) ** 2).mean() / 2)

    def match(self, has_order: bool, has_signs: bool) -> BlockTransform:
        """Return the transform whose channels have the means and spreads that are remembered, as nearly as may be.

        The outputs are linear in the means of the channels, and, were these independent, in their variances; both are
        solved for, and matched with those of now.
        """
        now, spread = self.mean, np.sqrt(self.covariance.diagonal())
        scale = np.sqrt((now**2).mean()) + 1e-12, spread.std() + 1e-12
        size = abs if has_signs else np.asarray
        found = []
        for ridge, weight in itertools.product(RIDGES, SPREADS if has_order else SPREADS[:1]):
            means, spreads = self._solve(ridge)
            apart = (size(means)[:, None] - size(now)) / scale[0], (spreads[:, None] - spread) / scale[1]
            cost = apart[0] ** 2 + weight * apart[1] ** 2
            source = linear_sum_assignment(cost)[1] if has_order else np.arange(len(now))
            signs = np.where(means * now[source] < 0, -1, 1) if has_signs else np.ones(len(now), dtype=int)
            found.append((self.mismatch(source, signs), source, signs))
        _, source, signs = min(found, key=lambda one: one[0])
        return BlockTransform(source, np.where(signs < 0, 255, 0))

    def _solve(self, ridge: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the remembered mean and standard deviation of each channel."""
        channels, gram, squares = len(self.mean), self.weights.T @ self.weights, self.weights**2
        less = ridge * np.trace(gram) / channels * np.eye(channels)
        means = np.linalg.solve(gram + less, self.weights.T @ self.means)
        pull = np.sqrt(ridge / channels) * np.linalg.norm(squares)
        wanted = np.append(np.ones(len(squares)), np.full(channels, pull * self.covariance.diagonal().mean()))
        return means, np.sqrt(nnls(np.vstack([squares, pull * np.eye(channels)]), wanted)[0])


def remember(target: Target, place: Place, features: Mapping[str, BlockTransform]) -> Memory | None:
    """Return what is remembered of the feature map of a place; None where nothing that reads it remembers.

    Args:
        target: The model, and plain images.
        place: One of ``target.features.places``.
        features: Estimates for the places before it; at this one the map is left as it is.
    """
    known, readers, sums = set(map(id, norms_that_know(target.model))), {}, [0, 0.0, 0.0]
    maps, read, normed = [], [], []
    hooks = [place.module.register_forward_hook(lambda module, args, out: maps.append(_channels_first(out, place)))]
    for module in target.model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1:] == (place.channels, 1, 1):
            hooks.append(module.register_forward_hook(_noting(read)))
        elif id(module) in known:
            hooks.append(module.register_forward_hook(_noting(normed)))
    try:
        for image in target.plain:
            for noted in (maps, read, normed):
                noted.clear()
            target.logits([image], None, features)
            x = maps[-1]
            for conv, seen, out in read:
                if seen.flatten(2).shape == x.shape and torch.equal(seen.flatten(2), x):
                    readers |= [(conv, norm) for norm, before, _ in normed if before is out]
            flat = x[0].double()
            sums = [sums[0] + flat.shape[1], sums[1] + flat.sum(1), sums[2] + flat @ flat.T]
    finally:
        for hook in hooks:
            hook.remove()
    if not readers:
        return None
    mean = sums[1] / sums[0]
    weights, means = zip(*(_over_spread(conv, norm) for conv, norm in readers.items()), strict=True)
    values = torch.cat(weights), torch.cat(means), mean, sums[2] / sums[0] - torch.outer(mean, mean)
    return Memory(*(value.cpu().numpy() for value in values))


def _noting(where: list) -> Callable:
    """Return a hook that notes the module, what comes in, and what goes out."""
    return lambda module, args, out: where.append((module, args[0], out))


def _channels_first(x: Tensor, place: Place) -> Tensor:
    """Return a feature map, or tokens, as (N, C, positions)."""
    return x.flatten(2) if place.embedding is None else x.transpose(1, 2)


def _over_spread(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return the weights, and the remembered means, over the remembered spread of each output."""
    spread = (norm.running_var.double() + norm.eps).sqrt()
    means = norm.running_mean.double() - (0 if conv.bias is None else conv.bias.detach().double())
    return conv.weight.detach().double().flatten(1) / spread[:, None], means / spread
