"""What a network keeps of a feature map: statistics behind the layers that read it, and the layers' own columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_keyprotect.audit.estimators.channel_fit import Memory
from mmseg_keyprotect.audit.estimators.objectives import kept_statistics, trained_batch_norms
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.places import Place

EXPLAINED = 0.5
"""The share of the variance of biases that the means of the channels must reach."""


def remember(
    view: View, place: Place, key: BlockTransform | None, features: Mapping[str, BlockTransform]
) -> Memory | None:
    """Return what the readers of the feature map of a place show, and what plain images show of the map.

    The readers are convolutions. Behind those of 1 x 1, a batch norm keeps the statistics of their outputs. If it was
    folded into the convolution, its bias is left, which takes the mean of the output nearly to 0.

    Args:
        view: The view, with weights and plain images.
        place: One of ``view.feature_places``.
        key: The key of images, or an estimate; None if images are plain.
        features: Estimates for the places before it; the map of this place must stay unchanged.

    Returns:
        The memory; None if no convolution reads the map.
    """
    norms = [module for module in view.model.modules() if isinstance(module, _BatchNorm)]
    readers: dict[nn.Conv2d, _BatchNorm | None] = {}
    count, total, products = 0, torch.zeros(()), torch.zeros(())  # scalars add to tensors of any device and dtype
    maps: list[Tensor] = []
    read: list[Call] = []
    normed: list[Call] = []
    hooks = [place.module.register_forward_hook(lambda module, args, out: maps.append(_channels_first(out, place)))]
    for module in view.model.modules():
        if isinstance(module, nn.Conv2d) and module.groups == 1 and module.in_channels == place.channels:
            hooks.append(module.register_forward_hook(_noting(read)))
    hooks += [norm.register_forward_hook(_noting(normed)) for norm in norms]
    try:
        for image in view.plain:
            for calls in (maps, read, normed):
                calls.clear()
            view.logits([image], key, features)
            x = maps[-1]
            for conv, seen, out in read:
                if seen.flatten(2).shape == x.shape and torch.equal(seen.flatten(2), x):
                    readers[conv] = next((norm for norm, before, _ in normed if before is out), None)
            flat = x[0].double()
            count, total, products = count + flat.shape[1], total + flat.sum(1), products + flat @ flat.T
    finally:
        for hook in hooks:
            hook.remove()
    if not readers:
        return None
    mean = total / count
    points = {conv: norm for conv, norm in readers.items() if conv.kernel_size == (1, 1)}
    weights, means, spread = _kept(view, points, mean)
    grams = [(columns @ columns.T).cpu().numpy() for columns in map(_columns, readers)]
    covariance = products / count - torch.outer(mean, mean)
    return Memory(
        weights.cpu().numpy(), means.cpu().numpy(), spread, mean.cpu().numpy(), covariance.cpu().numpy(), grams
    )


Call = tuple[Any, Tensor, Tensor]
"""A module that has run, with its input and output."""


def _noting(where: list[Call]) -> Callable[[nn.Module, Any, Tensor], None]:
    """Return a hook that records a module with its input and output."""
    return lambda module, args, out: where.append((module, args[0], out))


def _channels_first(x: Tensor, place: Place) -> Tensor:
    """Return a feature map or tokens as (N, C, positions)."""
    return x.flatten(2) if place.embedding is None else x.transpose(1, 2)


def _columns(conv: nn.Conv2d) -> Tensor:
    """Return the column of each input channel, float64 (C, weights)."""
    return conv.weight.detach().double().transpose(0, 1).flatten(1)


def _kept(view: View, readers: Mapping[nn.Conv2d, _BatchNorm | None], mean: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return what is known of the outputs of convolutions of 1 x 1: weights, means, and of how many the spread.

    A bias takes the mean of its output to another number that is not known, so it counts only where means of the
    channels are large enough to explain it.

    Args:
        view: The view.
        readers: Convolutions, each with the batch norm behind it.
        mean: The measured mean of each channel.
    """
    known = set(map(id, trained_batch_norms(view.model)))
    trained = [_over_spread(conv, norm) for conv, norm in readers.items() if norm is not None and id(norm) in known]
    folded = [_folded(conv, norm) for conv, norm in readers.items() if id(norm) not in known]
    explained = [(rows, kept) for rows, kept in folded if (rows @ mean).var() > EXPLAINED * kept.var() > 0]
    weights, means = zip((mean.new_zeros(0, len(mean)), mean.new_zeros(0)), *trained, *explained, strict=True)
    return torch.cat(weights), torch.cat(means), sum(len(rows) for rows, _ in trained)


def _over_spread(conv: nn.Conv2d, norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the weights and the kept means, each over the kept standard deviation of its output."""
    kept_mean, kept_variance = kept_statistics(norm)
    spread = (kept_variance.double() + norm.eps).sqrt()
    means = kept_mean.double() - (0 if conv.bias is None else conv.bias.detach().double())
    return conv.weight.detach().double().flatten(1) / spread[:, None], means / spread


def _folded(conv: nn.Conv2d, norm: _BatchNorm | None) -> tuple[Tensor, Tensor]:
    """Return the weights and the means that the bias takes to 0, each over the size of its row of weights."""
    weights = conv.weight.detach().double().flatten(1)
    means = weights.new_zeros(len(weights)) if conv.bias is None else -conv.bias.detach().double()
    if norm is not None and isinstance(norm.weight, Tensor):
        means = means - norm.bias.detach().double() / norm.weight.detach().double()
    size = weights.norm(dim=1).clamp_min(1e-12)
    return weights / size[:, None], means / size
