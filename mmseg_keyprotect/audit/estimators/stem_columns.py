"""The columns of a block stem: its weights for each sample of a block."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.backbones import adapter_of
from mmseg_keyprotect.models.stem.absorber import CENTRE, StemKeyAbsorber
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.models.stem.lifting import Grid, lift

TYPICAL = 400
"""The number of typical filters that are drawn."""

REACH = 1.5
"""The distance, in taps, over which typical filters are correlated."""

COLOURS = 0.8
"""The correlation between the colours of typical filters."""


def find_block_stem(model: BaseSegmentor) -> BlockStem | None:
    """Return the block stem of a segmentor; None if it has its own first convolution."""
    stems = [module for module in model.modules() if isinstance(module, BlockStem)]
    return stems[0] if stems else None


@torch.no_grad()
def columns_of(stem: BlockStem) -> Tensor:
    """Return the absorbed weights, float64 (O * (M/s)**2, n, K, K)."""
    return stem.absorbed()[0].double().cpu()


def public_columns(stem: BlockStem, model: BaseSegmentor, weights: Mapping[str, Tensor], rgb: bool) -> Tensor | None:
    """Lift the first convolution of the public model; return None if it has none of the same shape.

    Args:
        stem: The block stem of the protected model.
        model: The protected model.
        weights: The public model's state dict, of the segmentor or of the backbone alone.
        rgb: Whether the network gets images in RGB order; else BGR.

    Returns:
        float64 (O * (M/s)**2, n, K, K), as from
        :func:`~mmseg_keyprotect.audit.estimators.stem_columns.columns_of`.
    """
    stem_name = model.block_stem if hasattr(model, 'block_stem') else adapter_of(model.backbone).first_convolution()
    name = stem_name + '.weight'
    for key, value in weights.items():
        if (key == name or key.endswith(f'.{name}')) and tuple(value.shape) == stem.plain_shape:
            used = _absorber_of(stem)
            plain = StemKeyAbsorber(used.mean.cpu(), used.std.cpu(), rgb)
            return plain.absorb(value.double().cpu(), None, stem.grid)[0]
    return None


def typical_columns(grid: Grid, channels: int) -> Tensor:
    """Draw and lift filters like those learned from natural images: smooth, and similar in all colours."""
    taps = torch.arange(grid.kernel_size, dtype=torch.float64)
    near = torch.exp(-((taps[:, None] - taps) ** 2) / (2 * REACH**2)) + 1e-6 * torch.eye(len(taps))
    colours = COLOURS + (1 - COLOURS) * torch.eye(channels, dtype=torch.float64)
    root, mix = torch.linalg.cholesky(near), torch.linalg.cholesky(colours)
    noise = torch.randn(
        TYPICAL, channels, len(taps), len(taps), dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )
    return lift(torch.einsum('ocuv,dc,xu,yv->odxy', noise, mix, root, root), grid)


def likeness(columns: Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the similarity of columns, float64 (n, n) each: at one position, and one position right and below."""
    flat = columns / columns.flatten(2).norm(dim=(0, 2))[None, :, None, None].clamp_min(1e-12)

    def products(first: Tensor, second: Tensor) -> np.ndarray:
        return torch.einsum('onkl,omkl->nm', first, second).numpy()

    return (
        products(flat, flat) - np.eye(flat.shape[1]),
        products(flat[..., :-1], flat[..., 1:]),
        products(flat[..., :-1, :], flat[..., 1:, :]),
    )


def energies(columns: Tensor, grid: Grid) -> np.ndarray:
    """Return the shares of energy of each column, (n, (M/s)**2 * K * K); 0 where a kernel cannot reach."""
    parts = columns.reshape(-1, grid.ratio**2, *columns.shape[1:])
    energy = (parts**2).sum(0).permute(1, 0, 2, 3).flatten(1)
    return (energy / energy.sum(1, keepdim=True).clamp_min(1e-24)).sqrt().numpy()


def to_key(stem: BlockStem, source: np.ndarray, signs: np.ndarray, rgb: bool) -> BlockTransform:
    """Convert an order and signs in the order (channel, row, column) to a key in the order (row, column, RGB).

    Args:
        stem: The block stem.
        source: int64 (n,).
        signs: (n,), 1 or -1.
        rgb: Whether the network gets images in RGB order; else BGR.
    """
    channels, m = stem.plain_shape[1], stem.grid.block_size
    place = np.arange(channels * m * m).reshape(channels, m, m)
    place = (place if rgb or channels != 3 else place[::-1]).transpose(1, 2, 0).reshape(-1)
    return BlockTransform(np.argsort(place)[source[place]], np.where(signs[place] < 0, 255, 0))


def border_signs(stem: BlockStem) -> np.ndarray | None:
    """Read the signs from the border ``exact``, which holds the encrypted mean colour; None if there is no border."""
    if stem.border is None:
        return None
    border, mean = stem.border.cpu().numpy(), _absorber_of(stem).mean.cpu().numpy() - CENTRE
    if not (mean > 0).all() and not (mean < 0).all():
        return None
    return np.where(border * mean.flat[0] < 0, -1, 1)


def _absorber_of(stem: BlockStem) -> StemKeyAbsorber:
    assert stem.absorber is not None, 'a segmentor gives its block stem an absorber'
    return stem.absorber
