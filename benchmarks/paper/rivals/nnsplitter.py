"""A hidden small share of the weights: NNSplitter of Zhou et al., ICML 2023 (arXiv 2305.00097).

The file holds wrong values for a few hundred weights that ruin the accuracy; the trusted part keeps their places and
their true values. The published method learns where by reinforcement. Here the gradient of the loss chooses, some
weights at a time. Wrong values stay within the range of their layer, as published, so that clipping finds none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from benchmarks.paper.rivals.base import Rival, State, filled, shipped, units
from mmseg_keyprotect.audit.training import segmentation_loss

ROUNDS, EACH = 14, 40
"""How often the loss is asked, and the number of weights that are changed each time: 0.02% of 2.8 million in all."""


class HiddenWeights(Rival):
    """A few weights that raise the loss most are wrong in the file."""

    name = 'nnsplitter'

    def protect(self, model: BaseSegmentor, data: list[dict[str, Any]]) -> tuple[State, State]:
        """Change the weights along which the loss rises fastest."""
        weights = shipped(model)
        changed, kernels = filled(model, {}), [f'{unit}.conv.weight' for unit, _ in units(model)]
        parameters = {name: changed.get_parameter(name) for name in kernels}
        free = {name: torch.ones_like(weights[name], dtype=torch.bool) for name in kernels}
        for number in range(ROUNDS):
            loss = segmentation_loss(changed, data[number % len(data)])
            gradients = torch.autograd.grad(loss, list(parameters.values()))
            with torch.no_grad():
                goals = {
                    name: torch.where(gradient > 0, weights[name].max(), weights[name].min())
                    * (0.5 + 0.5 * torch.rand_like(gradient))
                    for name, gradient in zip(kernels, gradients, strict=True)
                }
                gains = torch.cat(
                    [
                        (gradient * (goals[name] - parameters[name]) * free[name]).flatten()
                        for name, gradient in zip(kernels, gradients, strict=True)
                    ]
                )
                chosen = torch.zeros_like(gains, dtype=torch.bool)
                chosen[gains.topk(EACH).indices] = True
                for name, here in zip(
                    kernels, chosen.split([len(one.flatten()) for one in free.values()]), strict=True
                ):
                    here = here.view_as(free[name])
                    parameters[name][here] = goals[name][here]
                    free[name] &= ~here
        secret = {}
        for name in kernels:
            places = (~free[name].flatten()).nonzero().flatten().int()
            if len(places):
                secret[f'{name}/places'], secret[f'{name}/values'] = places, weights[name].flatten()[places.long()]
        return {**weights, **{name: parameters[name].detach().clone() for name in kernels}}, secret

    def with_key(self, model: BaseSegmentor, file: Mapping[str, Tensor], secret: Mapping[str, Tensor]) -> BaseSegmentor:
        """Put the true values back."""
        weights = {name: value.clone() for name, value in file.items()}
        for name in secret:
            kernel, _, kind = name.partition('/')
            if kind == 'places':
                weights[kernel].view(-1)[secret[name].long()] = secret[f'{kernel}/values']
        return filled(model, weights)

    def beside(self, model: BaseSegmentor, file: Mapping[str, Tensor], public: Mapping[str, Tensor]) -> State:
        """Replace the weights that lie far from the public ones."""
        return restored_beside(file, public)


def restored_outliers(file: Mapping[str, Tensor], names: Iterable[str], threshold: float) -> State:
    """Replace weights that lie far from the others of their kernel by the median of that kernel.

    Args:
        file: The readable part.
        names: Names of the kernels to look at.
        threshold: The distance from the median beyond which a weight counts as wrong, in standard deviations as the
            median distance estimates them.
    """
    weights = dict(file)
    for name in names:
        rows = file[name].flatten(1)
        middle = rows.median(1, keepdim=True).values
        wrong = (rows - middle).abs() > threshold * _deviation(rows - middle)
        weights[name] = torch.where(wrong, middle, rows).view_as(file[name])
    return weights


def restored_beside(file: Mapping[str, Tensor], public: Mapping[str, Tensor], threshold: float = 8.0) -> State:
    """Replace weights that lie further from the public model than the others of their layer by the public ones."""
    weights = dict(file)
    for name in file:
        if name.endswith('.conv.weight') and name in public:
            moved = file[name] - public[name]
            wrong = moved.abs() > threshold * _deviation(moved.flatten()[None]).squeeze()
            weights[name] = torch.where(wrong, public[name], file[name])
    return weights


def _deviation(values: Tensor) -> Tensor:
    """Return the standard deviation of each row, (N, 1), estimated by the median of the absolute values."""
    return (values.abs().median(1, keepdim=True).values / 0.6745).clamp_min(1e-12)
