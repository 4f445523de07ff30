"""Keyed neuron signs: HPNN of Chakraborty, Mondal and Srivastava, DAC 2020.

A key bit decides whether the device negates what a neuron adds up. Here every channel in front of its activation has
a bit, and the device negates the output of the batch norm.

The published method trains with the bits. AdamW and SGD commute with a change of sign, so that training with the bits
from a start that has absorbed them is the same as training without them and absorbing them in the end. So the bits are
absorbed here after the training. They are absorbed either into the gains of the norms, or into the kernels, as a
training leaves them whose gains begin at one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from benchmarks.paper.rivals.base import Rival, State, filled, shipped, units


class KernelSigns(Rival):
    """Signs that the kernels have absorbed; all gains stay positive."""

    name = 'hpnn-kernels'
    turned = ('conv.weight', 'bn.running_mean', 'bn.bias')
    """What changes its sign, within a unit."""

    def protect(self, model: BaseSegmentor, data: list[dict[str, Any]]) -> tuple[State, State]:
        """Draw a bit for each channel and absorb it."""
        secret = {name: torch.randint(2, (unit.conv.out_channels,), dtype=torch.bool) for name, unit in units(model)}
        return self.turn(shipped(model), secret), secret

    def turn(self, weights: Mapping[str, Tensor], bits: Mapping[str, Tensor]) -> State:
        """Return weights with the channels negated that have a bit; doing it twice changes nothing."""
        turned = dict(weights)
        for unit, flips in bits.items():
            for part in self.turned:
                name = f'{unit}.{part}'
                signs = (1 - 2 * flips.float()).view(-1, *[1] * (weights[name].dim() - 1))
                turned[name] = weights[name] * signs
        return turned

    def with_key(self, model: BaseSegmentor, file: Mapping[str, Tensor], secret: Mapping[str, Tensor]) -> BaseSegmentor:
        """Let hooks negate the outputs of the norms, as the device does."""
        model = filled(model, file)
        for unit, flips in secret.items():
            signs = (1 - 2 * flips.float()).view(1, -1, 1, 1)
            model.get_submodule(unit).bn.register_forward_hook(lambda _, __, output, signs=signs: output * signs)
        return model

    def beside(self, model: BaseSegmentor, file: Mapping[str, Tensor], public: Mapping[str, Tensor]) -> State:
        """Negate the channels whose kernels point away from the public ones."""
        return self.turn(file, bits_beside(file, public, [name for name, _ in units(model)]))


class GainSigns(KernelSigns):
    """Signs that the gains and biases of the norms have absorbed."""

    name = 'hpnn-gains'
    turned = ('bn.weight', 'bn.bias')

    def beside(self, model: BaseSegmentor, file: Mapping[str, Tensor], public: Mapping[str, Tensor]) -> State:
        """Negate the channels whose gains are negative, which needs no public model."""
        return self.turn(file, bits_of_gains(file, [name for name, _ in units(model)]))


def bits_of_gains(file: Mapping[str, Tensor], names: Iterable[str]) -> State:
    """Estimate the bits by the signs of the gains, since training leaves gains positive.

    Args:
        file: The readable part.
        names: Names of the units.
    """
    return {unit: file[f'{unit}.bn.weight'] < 0 for unit in names}


def bits_beside(file: Mapping[str, Tensor], public: Mapping[str, Tensor], names: Iterable[str]) -> State:
    """Estimate the bits by comparing each kernel with the public one; units that the public model lacks are left out.

    Args:
        file: The readable part.
        public: Weights of the public model.
        names: Names of the units.
    """
    estimate = {}
    for unit in names:
        name = f'{unit}.conv.weight'
        if name in public:
            estimate[unit] = (file[name] * public[name]).flatten(1).sum(1) < 0
    return estimate
