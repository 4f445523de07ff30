"""The statistics of a feature map that a network keeps, in the batch norm behind the convolution that reads it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment, nnls
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_keyprotect.audit.estimators.objectives import kept_statistics, trained_batch_norms
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.places import Place

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
"""The strengths of regularisation that are tried, as shares of the mean square of a column."""

SPREADS = (0.0, 0.3, 1.0, 3.0)
"""The weights of the spread of a channel, relative to its mean, that are tried."""

FLOOR = 1e-3
"""Added to variances before the logarithm."""


@dataclass
class Memory:
    """The convolutions that read a feature map (the readers), and the statistics of the map.

    Args:
        weights: float64 (O, C), the weights of the readers, each row over the kept standard deviation of its output.
        means: float64 (O,), the kept means of the outputs, over the same standard deviations.
        mean: float64 (C,), the measured mean of each channel.
        covariance: float64 (C, C), the measured covariance of the channels.
    """

    weights: np.ndarray
    means: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray

    def mismatch(self, source: np.ndarray, signs: np.ndarray) -> float:
        """Return how far the outputs are from the kept statistics if the channels are ``signs * x[source]``."""
        covariance = self.covariance[np.ix_(source, source)] * np.outer(signs, signs)
        shift = self.weights @ (signs * self.mean[source]) - self.means
        variance = ((self.weights @ covariance) * self.weights).sum(1)
        return float((shift**2).mean() + (np.log(variance.clip(0) + FLOOR) ** 2).mean() / 2)

    def match(self, has_order: bool, has_signs: bool) -> BlockTransform:
        """Return the transform whose channels best fit the kept means and spreads.

        The outputs are linear in the means of the channels. If the channels are independent, the variances of the
        outputs are linear in those of the channels. Both systems are solved, and the solutions are matched with the
        measured statistics.

        Args:
            has_order: Whether channels may change places.
            has_signs: Whether channels may change signs.
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
        """Return the mean and the standard deviation of each channel that explain the kept statistics."""
        channels, gram, squares = len(self.mean), self.weights.T @ self.weights, self.weights**2
        less = ridge * np.trace(gram) / channels * np.eye(channels)
        means = np.linalg.solve(gram + less, self.weights.T @ self.means)
        pull = np.sqrt(ridge / channels) * np.linalg.norm(squares)
        wanted = np.append(np.ones(len(squares)), np.full(channels, pull * self.covariance.diagonal().mean()))
        return means, np.sqrt(nnls(np.vstack([squares, pull * np.eye(channels)]), wanted)[0])


def remember(view: View, place: Place, features: Mapping[str, BlockTransform]) -> Memory | None:
    """Return the kept statistics of the feature map of a place; None if no batch norm behind a reader keeps any.

    Args:
        view: The view, with weights and plain images.
        place: One of ``view.feature_places``.
        features: Estimates for the places before it; the map of this place must stay unchanged.
    """
    known = set(map(id, trained_batch_norms(view.model)))
    readers: dict[nn.Conv2d, _BatchNorm] = {}
    count, total, products = 0, torch.zeros(()), torch.zeros(())  # scalars add to tensors of any device and dtype
    maps: list[Tensor] = []
    read: list[Call] = []
    normed: list[Call] = []
    hooks = [place.module.register_forward_hook(lambda module, args, out: maps.append(_channels_first(out, place)))]
    for module in view.model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[1:] == (place.channels, 1, 1):
            hooks.append(module.register_forward_hook(_noting(read)))
        elif id(module) in known:
            hooks.append(module.register_forward_hook(_noting(normed)))
    try:
        for image in view.plain:
            maps.clear()
            read.clear()
            normed.clear()
            view.logits([image], None, features)
            x = maps[-1]
            for conv, seen, out in read:
                if seen.flatten(2).shape == x.shape and torch.equal(seen.flatten(2), x):
                    readers.update((conv, norm) for norm, before, _ in normed if before is out)
            flat = x[0].double()
            count, total, products = count + flat.shape[1], total + flat.sum(1), products + flat @ flat.T
    finally:
        for hook in hooks:
            hook.remove()
    if not readers:
        return None
    mean = total / count
    weights, means = zip(*(_over_spread(conv, norm) for conv, norm in readers.items()), strict=True)
    values = torch.cat(weights), torch.cat(means), mean, products / count - torch.outer(mean, mean)
    return Memory(*(value.cpu().numpy() for value in values))


Call = tuple[Any, Tensor, Tensor]
"""A module that has run, with its input and output."""


def _noting(where: list[Call]) -> Callable[[nn.Module, Any, Tensor], None]:
    """Return a hook that records a module with its input and output."""
    return lambda module, args, out: where.append((module, args[0], out))


def _channels_first(x: Tensor, place: Place) -> Tensor:
    """Return a feature map or tokens as (N, C, positions)."""
    return x.flatten(2) if place.embedding is None else x.transpose(1, 2)


def _over_spread(conv: nn.Conv2d, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the weights and the kept means, each over the kept standard deviation of its output."""
    kept_mean, kept_variance = kept_statistics(norm)
    spread = (kept_variance.double() + norm.eps).sqrt()
    means = kept_mean.double() - (0 if conv.bias is None else conv.bias.detach().double())
    return conv.weight.detach().double().flatten(1) / spread[:, None], means / spread
