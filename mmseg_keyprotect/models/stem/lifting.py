"""Lifting: a convolution on pixels, written as a convolution on blocks of pixels.

A grid of blocks has n = C * M * M channels, in the order of ``F.pixel_unshuffle``: channel, row, column. Let M be a
multiple of s. Then a convolution (kernel k, stride s, padding p) equals, exactly, a convolution on that grid followed
by ``F.pixel_shuffle(M / s)``. Output row ``i * M / s + a`` reads the rows ``i * M + r`` with ``r = a * s - p + u``,
u < k. Row r lies ``floor(r / M)`` blocks further on, at row ``r mod M`` of that block.

On the grid, shuffle is a permutation of channels and negative-positive a change of sign around 127.5. So both fold into
the weights, as arXiv 2208.13135 shows for the patches of a ViT, which are kernels of one block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """The sizes of a convolution on pixels and on the grid of blocks, the same for rows and columns.

    Args:
        kernel_size: k, in pixels.
        stride: s, in pixels.
        padding: p, in pixels.
        block_size: M, in pixels, a multiple of s.

    Example:
        >>> grid = Grid(kernel_size=7, stride=2, padding=3, block_size=4)
        >>> grid.ratio, grid.blocks
        (2, 3)
    """

    kernel_size: int
    stride: int
    padding: int
    block_size: int

    @property
    def ratio(self) -> int:
        """M / s, the number of output rows of one block."""
        return self.block_size // self.stride

    @property
    def before(self) -> int:
        """The number of blocks above its own that an output row reads."""
        return -(-self.padding // self.block_size)

    @property
    def after(self) -> int:
        """The number of blocks below its own that an output row reads."""
        return (self.block_size - self.stride - self.padding + self.kernel_size - 1) // self.block_size

    @property
    def blocks(self) -> int:
        """K, the kernel size on the grid, in blocks."""
        return self.before + 1 + self.after

    def rows(self) -> Tensor:
        """Return which kernel row reads which row of which block, for each output row of a block.

        Returns:
            Float32 tensor (M/s, k, K, M): 1 where the output row reads this row of this block with this kernel row,
            else 0.
        """
        places = torch.zeros(self.ratio, self.kernel_size, self.blocks * self.block_size)
        for a in range(self.ratio):
            first = a * self.stride - self.padding + self.before * self.block_size
            places[a, :, first : first + self.kernel_size] = torch.eye(self.kernel_size)
        return places.reshape(self.ratio, self.kernel_size, self.blocks, self.block_size)


def lift(weight: Tensor, grid: Grid) -> Tensor:
    """Write the weights of a convolution for the grid of blocks.

    Args:
        weight: (O, C, k, k), floating point.
        grid: The sizes of the convolution.

    Returns:
        (O * (M/s)**2, C * M * M, K, K), of the same dtype, zero where the kernel does not reach.

    Example:
        >>> import torch
        >>> import torch.nn.functional as F
        >>> image, weight = torch.rand(1, 3, 8, 16).double(), torch.rand(5, 3, 4, 4).double()
        >>> on_blocks = F.conv2d(F.pixel_unshuffle(image, 8), lift(weight, Grid(4, 4, 0, 8)))
        >>> torch.allclose(F.pixel_shuffle(on_blocks, 2), F.conv2d(image, weight, stride=4))
        True
    """
    rows = grid.rows().to(weight)
    lifted = torch.einsum('ocuv,aukm,bvln->oabcmnkl', weight, rows, rows)
    return lifted.reshape(
        weight.shape[0] * grid.ratio**2, weight.shape[1] * grid.block_size**2, grid.blocks, grid.blocks
    )


def unlift(weight: Tensor, plain_shape: tuple[int, ...], grid: Grid) -> Tensor:
    """Invert :func:`~mmseg_keyprotect.models.stem.lifting.lift`.

    Args:
        weight: (O * (M/s)**2, C * M * M, K, K), floating point.
        plain_shape: (O, C, k, k).
        grid: The sizes of the convolution.

    Returns:
        (O, C, k, k), of the same dtype. Where the copies of a plain weight differ, it is their mean.
    """
    rows = grid.rows().to(weight)
    sizes = (plain_shape[0], grid.ratio, grid.ratio, plain_shape[1], grid.block_size, grid.block_size)
    copies = weight.reshape(*sizes, grid.blocks, grid.blocks)
    return torch.einsum('oabcmnkl,aukm,bvln->ocuv', copies, rows, rows) / grid.ratio**2
