"""A small U-Net on the grid of blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 48
"""Channels of the first level."""


class BlockUNet(nn.Module):
    """Predicts the samples of each block from features of all blocks: two levels down, and two up.

    Args:
        features: The number of features of a block.
        samples: n, the number of samples of a block.
    """

    def __init__(self, features: int, samples: int) -> None:
        super().__init__()
        self.first, self.second = _convolutions(features, WIDTH), _convolutions(WIDTH, 2 * WIDTH)
        self.lowest = _convolutions(2 * WIDTH, 2 * WIDTH)
        self.up, self.last = _convolutions(4 * WIDTH, WIDTH), _convolutions(2 * WIDTH, WIDTH)
        self.samples = nn.Conv2d(WIDTH, samples, 1)

    def forward(self, blocks: Tensor) -> Tensor:
        """Return the samples, float (N, n, rows, columns), of blocks (N, features, rows, columns)."""
        first = self.first(blocks)
        second = self.second(_halve(first))
        up = self.up(_beside(second, self.lowest(_halve(second))))
        return self.samples(self.last(_beside(first, up)))


def _convolutions(channels: int, out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels, out):
        layers += [nn.Conv2d(before, out, 3, padding=1), nn.GroupNorm(4, out), nn.ReLU()]
    return nn.Sequential(*layers)


def _halve(one: Tensor) -> Tensor:
    return F.avg_pool2d(one, 2, ceil_mode=True)


def _beside(one: Tensor, other: Tensor) -> Tensor:
    """Enlarge ``other`` to the size of ``one``, and join them."""
    return torch.cat([one, F.interpolate(other, one.shape[-2:], mode='bilinear', align_corners=False)], 1)
