"""Adaptive average pooling for maps of any size, which ONNX has for one output size alone."""

from __future__ import annotations

import torch
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


def use_averaging_matrices(model: nn.Module) -> None:
    """Replace every ``nn.AdaptiveAvgPool2d`` of a model, in place, but those that average the whole map."""
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                size = child.output_size
                rows, columns = size if isinstance(size, tuple) else (size, size)
                if rows is not None and columns is not None and (rows, columns) != (1, 1):
                    setattr(parent, name, AveragingMatrices((rows, columns)))
