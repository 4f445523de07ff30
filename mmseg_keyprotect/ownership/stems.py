"""The plain first convolution of a suspect that has a block stem, without its key."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mmseg_keyprotect.models.stem.absorber import StemKeyAbsorber
from mmseg_keyprotect.models.stem.lifting import Grid
from mmseg_keyprotect.ownership.alignment import Aligner, likeness
from mmseg_keyprotect.ownership.weights import is_readable

MAX_ENTRIES = 2**26
"""Entries of a block stem, at most; hostile files may claim more."""


@torch.no_grad()
def plain_stem(state: Mapping[str, Tensor], name: str, known: Tensor) -> Tensor | None:
    """Undo the key of a block stem by matching its columns with those of the original, lifted.

    Args:
        state: The suspect's state dict.
        name: The name of the block stem's weight in it.
        known: The weight of the original's first convolution, (O, C, k, k).

    Returns:
        float64 (O, C, k, k); None if the tensor is no block stem of such a convolution.
    """
    seen = state[name]
    near = [state.get(f'{name.removesuffix("weight")}{part}') for part in ('mean', 'std')]
    if known.ndim != 4 or seen.ndim != 4 or seen.numel() > MAX_ENTRIES or any(one is None for one in near):
        return None
    mean, std = (one.double() for one in near if one is not None)
    if not all(is_readable(one) and one.numel() in (1, known.shape[1]) for one in (mean, std)):
        return None
    absorber = StemKeyAbsorber(mean.reshape(-1), std.reshape(-1))
    found = [_released(seen.double(), known.double(), grid, absorber) for grid in _grids(seen.shape, known.shape)]
    return max(found, key=lambda one: likeness(one.numpy(), known.double().numpy()), default=None)


def _grids(seen: torch.Size, known: torch.Size) -> list[Grid]:
    """Return the grids by which a convolution of one shape can become a block stem of the other."""
    block, ratio = math.isqrt(seen[1] // known[1]), math.isqrt(seen[0] // known[0])
    if (known[0] * ratio**2, known[1] * block**2) != tuple(seen[:2]) or not ratio or block % ratio:
        return []
    size, stride = known[2], block // ratio
    paddings = [padding for padding in range(size) if -stride <= 2 * padding - size < 0]
    grids = [Grid(size, stride, padding, block) for padding in paddings]
    return [grid for grid in grids if (grid.blocks, grid.blocks) == tuple(seen[2:])]


def _released(seen: Tensor, known: Tensor, grid: Grid, absorber: StemKeyAbsorber) -> Tensor:
    lifted = absorber.absorb(known, None, grid)[0]
    copies = grid.ratio**2

    def flat(weight: Tensor) -> np.ndarray:
        """Return (O, n, (M/s)**2 * K * K)."""
        parts = weight.reshape(len(known), copies, weight.shape[1], -1)
        return parts.swapaxes(1, 2).flatten(2).numpy()

    aligned = torch.from_numpy(Aligner().align(flat(seen), flat(lifted)).values)
    weight = aligned.unflatten(2, (copies, -1)).swapaxes(1, 2).reshape(seen.shape)
    return absorber.release(weight, weight.new_zeros(len(weight)), tuple(known.shape), grid)[0]
