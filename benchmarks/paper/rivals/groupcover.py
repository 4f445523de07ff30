"""Grouped dense mixing of kernels: GroupCover of Zhang et al., ICML 2024.

The output channels of a convolution are split into random groups. Within a group every kernel of the file is a random
linear combination of all true ones, so that none of them resembles a true one. The trusted part unmixes the results.
The kernels of a group stand together in the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from benchmarks.paper.rivals.base import State
from benchmarks.paper.rivals.outsourced import Outsourced

GROUP = 8
"""Kernels in a group; every convolution of the leaderboard's model has a multiple of it."""


class MixedKernels(Outsourced):
    """Kernels that are mixed in random groups."""

    name = 'groupcover'

    def obfuscate(self, kernels: Tensor) -> tuple[Tensor, State]:
        """Mix by random orthogonal matrices with random scales, which are well conditioned."""
        groups = torch.randperm(len(kernels)).view(-1, GROUP)
        mixing = torch.linalg.qr(torch.randn(len(groups), GROUP, GROUP)).Q
        mixing = mixing * torch.exp2(2 * torch.rand(len(groups), GROUP, 1) - 1)
        found = (mixing @ kernels[groups]).flatten(0, 1)
        return found, dict(places=groups.flatten().argsort(), unmixing=torch.linalg.inv(mixing))

    def restore(self, seen: Tensor, secret: Mapping[str, Tensor]) -> Tensor:
        """Unmix the results and put them into the order of the model."""
        grouped = seen.unflatten(1, (-1, GROUP)).flatten(3)
        plain = torch.einsum('gij,ngjp->ngip', secret['unmixing'], grouped)
        return plain.reshape(seen.shape)[:, secret['places']]

    def recover(self, found: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
        """Project public kernels onto what groups span."""
        return unmixed(found, public)


def unmixed(found: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
    """Recover kernels beside the public model by least squares.

    Mixing keeps what a group spans. A public kernel lies next to the span of its group, and its projection onto that is
    the best guess of the true kernel.

    Args:
        found: The kernels of the file, (C, d).
        public: The public kernels, (C, d).

    Returns:
        The recovered kernels (C, d), and the group of each one, (C,).
    """
    size = min(GROUP, found.shape[1])
    bases = torch.linalg.svd(found.view(-1, GROUP, found.shape[1]), full_matrices=False).Vh[:, :size]
    coordinates = torch.einsum('gjd,cd->cgj', bases, public)
    near = coordinates.norm(dim=2) / public.norm(dim=1, keepdim=True).clamp_min(1e-12)
    rows, columns = map(
        torch.from_numpy, linear_sum_assignment(near.repeat_interleave(GROUP, 1).numpy(), maximize=True)
    )
    groups = torch.empty(len(public), dtype=torch.long)
    groups[rows] = columns // GROUP
    return torch.einsum('cj,cjd->cd', coordinates[torch.arange(len(public)), groups], bases[groups]), groups
