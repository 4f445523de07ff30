"""Channel shuffling with masks: ShadowNet of Sun et al., IEEE S&P 2023 (arXiv 2011.05905).

Kernels are scaled, random mask kernels are added to them, and all are shuffled. The masks are among the kernels of
the file, so that the accelerator computes their results too and the trusted part subtracts them. The one-time pads on
features between the two parts are left out: they hide data, not weights.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmarks.paper.rivals.base import State
from benchmarks.paper.rivals.outsourced import Outsourced, random_scales, scaled_like

MASKS = 0.2
"""Mask kernels, as a share of the true ones."""


class ShuffledKernels(Outsourced):
    """Scaled, masked and shuffled kernels."""

    name = 'shadownet'

    def obfuscate(self, kernels: Tensor) -> tuple[Tensor, State]:
        """Scale, mask and shuffle."""
        count, masks = len(kernels), max(int(MASKS * len(kernels)), 1)
        scales, used = random_scales(count), torch.randint(masks, (count,))
        mask = torch.randn(masks, kernels.shape[1]) * kernels.norm(dim=1).mean() / kernels.shape[1] ** 0.5
        shuffle = torch.randperm(count + masks)
        found = torch.cat([kernels * scales[:, None] + mask[used], mask])[shuffle]
        places = shuffle.argsort()
        return found, dict(places=places[:count], masks=places[count:][used], scales=scales)

    def restore(self, seen: Tensor, secret: Mapping[str, Tensor]) -> Tensor:
        """Subtract the results of the masks and undo the scales."""
        return (seen[:, secret['places']] - seen[:, secret['masks']]) / secret['scales'].view(1, -1, 1, 1)

    def recover(self, found: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
        """Find the masks, then match kernels."""
        return unshuffled(found, public)


def unshuffled(found: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
    """Recover kernels beside the public model: the difference of a kernel and its mask points along the public kernel.

    All pairs of kernels of the file are compared with each public kernel, and the most similar pair is taken.

    Args:
        found: The kernels of the file, (C + masks, d).
        public: The public kernels, (C, d).

    Returns:
        The recovered kernels (C, d), and the squared cosine of each with the public one, (C,).
    """
    rows = found.double()
    known = public.double() / public.double().norm(dim=1, keepdim=True).clamp_min(1e-12)
    distances = torch.cdist(rows, rows, compute_mode='donot_use_mm_for_euclid_dist').square()
    inverse = torch.where(distances > 0, 1 / distances, torch.zeros_like(distances)).float()
    pairs, alike = [], []
    for along in (known @ rows.T).float():
        best, index = ((along[:, None] - along).square_() * inverse).flatten().max(0)
        pairs.append(divmod(int(index), len(rows)))
        alike.append(best)
    first, second = torch.tensor(pairs).T
    return scaled_like(found[first] - found[second], public), torch.stack(alike)
