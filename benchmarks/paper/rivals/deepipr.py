"""Passport layers: DeepIPR of Fan, Ng and Chan, NeurIPS 2019 (arXiv 1909.07830), as its first scheme has it.

The gain and the bias of a norm are no weights. A passport computes them: the mean result that the convolution gives for
two secret feature maps. The model is trained with its passports, which users send along with their images. Here every
unit of the decode head has passports, drawn at random, and the signs of the gains carry a signature, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from mmseg.models.decode_heads import DepthwiseSeparableASPPHead
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor, nn

from benchmarks.paper.rivals.base import Rival, State, filled, shipped, units

SIZE = 3
"""Height and width of a passport."""

MARGIN, WEIGHT = 0.1, 0.1
"""How far gains must be from 0 on the side of the signature, and the weight of that loss."""


class PassportNorm(nn.BatchNorm2d):
    """A batch norm whose gain and bias a passport computes.

    Args:
        conv: The convolution in front of it.
        generator: Draws the passports and the signature.
    """

    def __init__(self, conv: nn.Conv2d, generator: torch.Generator) -> None:
        super().__init__(conv.out_channels, affine=False)
        self.convolution = [conv]  # in a list, so that it is no module of this one
        passports = torch.randn(2, conv.in_channels, SIZE, SIZE, generator=generator)
        signature = 2.0 * torch.randint(2, (conv.out_channels,), generator=generator) - 1
        self.register_buffer('passports', passports, persistent=False)
        self.register_buffer('signature', signature, persistent=False)

    def gain_and_bias(self) -> Tensor:
        """Return the gain and the bias, float (2, C)."""
        (conv,) = self.convolution
        around = tuple(size // 2 for size in conv.kernel_size)
        seen = nn.functional.conv2d(self.passports, conv.weight, padding=around, groups=conv.groups)
        return seen.mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, then scale and shift as the passports say."""
        gain, bias = self.gain_and_bias()
        return super().forward(x) * gain.view(1, -1, 1, 1) + bias.view(1, -1, 1, 1)

    def signature_loss(self) -> Tensor:
        """Return how far gains are from the signature."""
        return (MARGIN - self.gain_and_bias()[0] * self.signature).clamp_min(0).sum()


@MODELS.register_module()
class PassportHead(DepthwiseSeparableASPPHead):
    """The head of DeepLabV3+ with passports in every unit.

    Args:
        passport_seed: Seed of the passports and of the signature. A deployment would draw them from a key.
        kwargs: Arguments of the head.
    """

    def __init__(self, passport_seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        install(self, passport_seed)

    def loss_by_feat(self, *args: Any, **kwargs: Any) -> dict[str, Tensor]:
        """Return the losses of the head and of the signature."""
        norms = [module for module in self.modules() if isinstance(module, PassportNorm)]
        losses = super().loss_by_feat(*args, **kwargs)
        return losses | dict(loss_signature=WEIGHT * torch.stack([norm.signature_loss() for norm in norms]).sum())


def install(head: nn.Module, seed: int) -> None:
    """Put passports into every unit of a head."""
    generator = torch.Generator().manual_seed(seed)
    for _, unit in units(head, parts=('',)):
        unit.bn = PassportNorm(unit.conv, generator)


class Passports(Rival):
    """Gains and biases of the head that only passports give."""

    name = 'deepipr'

    def protect(self, model: BaseSegmentor, data: list[dict[str, Any]]) -> tuple[State, State]:
        """Separate a model that was trained with passports from them."""
        secret = {
            f'decode_head.{name}': norm.passports.clone()
            for name, norm in model.decode_head.named_modules()
            if isinstance(norm, PassportNorm)
        }
        return shipped(model), secret

    def with_key(self, model: BaseSegmentor, file: Mapping[str, Tensor], secret: Mapping[str, Tensor]) -> BaseSegmentor:
        """Install the passports."""
        model = filled(model, {})
        install(model.decode_head, 0)
        for name, passports in secret.items():
            model.get_submodule(name).passports = passports.clone()
        return filled(model, file)
