"""Linear layers that can only become signed permutations."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmseg_keyprotect.ciphers.transform import BlockTransform

ROUNDS = 10
"""Rounds of Sinkhorn's normalisation."""


class DoublyStochastic(nn.Module):
    """Parametrises a square weight as the difference of two parts of a doubly stochastic matrix, one for each sign.

    Every output is a signed mean of the inputs, and every input is used once in total. The extreme points of this set
    are the signed permutations (Sinkhorn's normalisation; Mena et al., arXiv 1802.08665).

    Args:
        n: The number of rows and columns.
        order: Whether samples may change places.
        signs: Whether samples may change signs.
    """

    forbidden: Tensor

    def __init__(self, n: int, order: bool, signs: bool) -> None:
        super().__init__()
        allowed = torch.ones(n, n, dtype=torch.bool) if order else torch.eye(n, dtype=torch.bool)
        kept = torch.stack([allowed, allowed & signs])
        self.register_buffer('forbidden', ~kept)
        self.raw = nn.Parameter(torch.zeros(2, n, n))

    def parts(self) -> Tensor:
        """Return both parts, float (2, n, n); their sum is doubly stochastic."""
        log = self.raw.masked_fill(self.forbidden, -1e4)
        for _ in range(ROUNDS):
            log = log - log.logsumexp((0, 2), keepdim=True)
            log = log - log.logsumexp((0, 1), keepdim=True)
        return log.exp()

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight in the shape of ``weight``, whose values are ignored."""
        positive, negative = self.parts()
        return (positive - negative).reshape(weight.shape)

    @torch.no_grad()
    def nearest(self) -> BlockTransform:
        """Return the nearest signed permutation."""
        parts = self.parts().cpu().numpy()
        rows, source = linear_sum_assignment(-parts.max(0))
        flipped = parts[1, rows, source] > parts[0, rows, source]
        return BlockTransform(source, np.where(flipped, 255, 0))


def restrict(layer: nn.Linear | nn.Conv2d, order: bool, signs: bool) -> DoublyStochastic:
    """Restrict a square linear layer or 1x1 convolution to signed permutations; its bias stays free.

    Args:
        layer: The layer; it is changed.
        order: Whether samples may change places.
        signs: Whether samples may change signs.

    Returns:
        The parametrisation of its weight.
    """
    maker = DoublyStochastic(len(layer.weight), order, signs).to(layer.weight.device)
    layer.weight.requires_grad_(False)
    parametrize.register_parametrization(layer, 'weight', maker)
    return maker
