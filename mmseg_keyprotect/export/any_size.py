"""Layers for maps of any size, in the place of those that torch exports for the size that it has seen."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from mmseg.models.utils import Upsample
from torch import Tensor, nn


class AveragingMatrices(nn.Module):
    """Computes what ``nn.AdaptiveAvgPool2d`` computes, as a product with two matrices that are made from the size.

    torch's exporter writes the adaptive pooling of PSPNet for the one size that it has seen.

    Args:
        output_size: Rows and columns of the output.

    Example:
        >>> x = torch.rand(2, 3, 7, 9)
        >>> bool(torch.allclose(AveragingMatrices((3, 2))(x), nn.AdaptiveAvgPool2d((3, 2))(x)))
        True
    """

    def __init__(self, output_size: tuple[int, int]) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Tensor) -> Tensor:
        """Pool (N, C, H, W) to (N, C, rows, columns)."""
        rows, columns = (_averages(out, size, x) for out, size in zip(self.output_size, x.shape[2:], strict=True))
        return rows @ x @ columns.T


def _averages(out: int, size: int, like: Tensor) -> Tensor:
    """Return the matrix (out, size) whose row i averages the positions from i * size / out to (i + 1) * size / out."""
    window = torch.arange(out, device=like.device)[:, None]
    start, end = window * size // out, ((window + 1) * size + out - 1) // out
    position = torch.arange(size, device=like.device)
    return ((position >= start) & (position < end)).to(like.dtype) / (end - start).to(like.dtype)


class SymbolicUpsample(nn.Module):
    """Computes what mmseg's ``Upsample`` does for a scale factor, without rounding sizes to the numbers of one image.

    Args:
        plain: The module to replace.
    """

    def __init__(self, plain: Upsample) -> None:
        super().__init__()
        self.scale_factor, self.mode, self.align_corners = plain.scale_factor, plain.mode, plain.align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Resize (N, C, H, W)."""
        size = [torch.sym_int(side * self.scale_factor) for side in x.shape[2:]]
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def for_any_size(model: nn.Module) -> None:
    """Replace the modules of a model, in place, that torch would export for the size of one image alone."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size
                rows, columns = size if isinstance(size, tuple) else (size, size)
                if rows is not None and columns is not None and (rows, columns) != (1, 1):
                    setattr(parent, name, AveragingMatrices((rows, columns)))
            elif isinstance(child, Upsample) and not child.size:
                setattr(parent, name, SymbolicUpsample(child))
