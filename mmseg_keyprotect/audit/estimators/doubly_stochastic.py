"""Linear layers that may become permutations with signs, and nothing else."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mmseg_keyprotect.ciphers.transform import BlockTransform

ROUNDS = 10
"""Of Sinkhorn's normalisation."""


class DoublyStochastic(nn.Module):
    """A square weight as the difference of two parts of a doubly stochastic matrix, one for each sign.

    Every output is a mean of the inputs, with signs, and every input is used once; at the corners these are the
    permutations with signs (Sinkhorn's normalisation; Mena et al., arXiv 1802.08665).

    Args:
        n: Rows and columns.
        order: Whether samples may change places.
        signs: Whether they may change signs.
    """

    def __init__(self, n: int, order: bool, signs: bool) -> None:
        super().__init__()
        allowed = torch.ones(n, n, dtype=torch.bool) if order else torch.eye(n, dtype=torch.bool)
        kept = torch.stack([allowed, allowed & signs])
        self.register_buffer('forbidden', ~kept)
        self.raw = nn.Parameter(torch.zeros(2, n, n))

    def parts(self) -> Tensor:
        """Return both parts, (2, n, n); their sum is doubly stochastic."""
        log = self.raw.masked_fill(self.forbidden, -1e4)
        for _ in range(ROUNDS):
            log = log - log.logsumexp((0, 2), keepdim=True)
            log = log - log.logsumexp((0, 1), keepdim=True)
        return log.exp()

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, of the shape of ``weight``, whose values do not matter."""
        positive, negative = self.parts()
        return (positive - negative).reshape(weight.shape)

    @torch.no_grad()
    def nearest(self) -> BlockTransform:
        """Return the permutation with signs that is nearest."""
        parts = self.parts().cpu().numpy()
        rows, source = linear_sum_assignment(-parts.max(0))
        flipped = parts[1, rows, source] > parts[0, rows, source]
        return BlockTransform(source, np.where(flipped, 255, 0))


def restrict(layer: nn.Module, order: bool, signs: bool) -> DoublyStochastic:
    """Let a square linear layer become a permutation with signs only, and a bias; return its weight's maker."""
    maker = DoublyStochastic(len(layer.weight), order, signs).to(layer.weight.device)
    layer.weight.requires_grad_(False)
    parametrize.register_parametrization(layer, 'weight', maker)
    return maker
