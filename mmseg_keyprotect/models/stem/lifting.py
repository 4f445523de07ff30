"""The mathematics of the block stem: a convolution on pixels as one on blocks, and a key absorbed by its weights.

A grid of blocks has n = C * M * M channels, in the order of ``F.pixel_unshuffle``: channel, row, column. A convolution
(kernel k, stride s, padding p) with M a multiple of s is, exactly, a convolution on that grid followed by
``F.pixel_shuffle(M / s)``: output row ``i * M / s + a`` reads the rows ``i * M + r`` with ``r = a * s - p + u``, u < k,
and row r lies in the block ``floor(r / M)`` further on, at its row ``r mod M``. On the grid, shuffle is a permutation
of channels, negative-positive a sign flip around 127.5, so both fold into the weights; arXiv 2208.13135 has it for the
patches of a ViT, which are kernels of one block.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmseg_keyprotect.ciphers import KeyedCipher

CENTRE = 127.5
"""Images are normalised to (x - 127.5) / 127.5, so that negative-positive is a pure change of sign."""


@dataclass(frozen=True)
class Grid:
    """Where a convolution's rows lie on the grid of blocks; columns alike.

    Args:
        kernel_size: k.
        stride: s.
        padding: p.
        block_size: M, a multiple of s.
    """

    kernel_size: int
    stride: int
    padding: int
    block_size: int

    @property
    def ratio(self) -> int:
        """M / s, the output rows of one block."""
        return self.block_size // self.stride

    @property
    def before(self) -> int:
        """How many blocks above its own an output row reads."""
        return -(-self.padding // self.block_size)

    @property
    def after(self) -> int:
        """How many blocks below its own an output row reads."""
        return (self.block_size - self.stride - self.padding + self.kernel_size - 1) // self.block_size

    @property
    def blocks(self) -> int:
        """K, the kernel's size on the grid."""
        return self.before + 1 + self.after

    def rows(self) -> Tensor:
        """Return a 0/1 tensor (M/s, k, K, M): which kernel row u reads which block row, for each output row a."""
        places = torch.zeros(self.ratio, self.kernel_size, self.blocks * self.block_size)
        for a in range(self.ratio):
            first = a * self.stride - self.padding + self.before * self.block_size
            places[a, :, first : first + self.kernel_size] = torch.eye(self.kernel_size)
        return places.reshape(self.ratio, self.kernel_size, self.blocks, self.block_size)


def lift(weight: Tensor, grid: Grid) -> Tensor:
    """Write a convolution's weights for the grid of blocks.

    Args:
        weight: (O, C, k, k).
        grid: Of the convolution.

    Returns:
        (O * (M/s)**2, C * M * M, K, K), zero where the kernel does not reach.
    """
    rows = grid.rows().to(weight)
    lifted = torch.einsum('ocuv,aukm,bvln->oabcmnkl', weight, rows, rows)
    return lifted.reshape(
        weight.shape[0] * grid.ratio**2, weight.shape[1] * grid.block_size**2, grid.blocks, grid.blocks
    )


def unlift(weight: Tensor, plain_shape: tuple[int, ...], grid: Grid) -> Tensor:
    """Invert :func:`lift`; the mean where the copies of a plain weight differ."""
    rows = grid.rows().to(weight)
    sizes = (plain_shape[0], grid.ratio, grid.ratio, plain_shape[1], grid.block_size, grid.block_size)
    copies = weight.reshape(*sizes, grid.blocks, grid.blocks)
    return torch.einsum('oabcmnkl,aukm,bvln->ocuv', copies, rows, rows) / grid.ratio**2


@dataclass(frozen=True)
class PlainInput:
    """What a plain model was made for, and the encryption that its block stem shall understand instead.

    Args:
        mean: (C,), of the plain model's normalisation, 0 to 255.
        std: (C,), of the plain model's normalisation, 0 to 255.
        rgb: Whether the model gets the channels of colour images as RGB; else BGR.
        keyed_cipher: The encryption; None for plain images.
    """

    mean: Tensor
    std: Tensor
    rgb: bool = True
    keyed_cipher: KeyedCipher | None = None

    def absorb(self, weight: Tensor, bias: Tensor | None, grid: Grid) -> tuple[Tensor, Tensor]:
        """Turn a plain model's first convolution into the weights of its block stem.

        Args:
            weight: (O, C, k, k).
            bias: (O,) or None.
            grid: Of the convolution.

        Returns:
            Weight (O * (M/s)**2, n, K, K) and bias (O * (M/s)**2,), for encrypted images normalised to -1 to 1.
        """
        dtype, channels = weight.dtype, weight.shape[1]
        weight = weight.double()
        bias = weight.new_zeros(len(weight)) if bias is None else bias.to(weight)
        mean, std = (value.to(weight).expand(channels) for value in (self.mean, self.std))
        bias = bias + torch.einsum('ocuv,c->o', weight, (CENTRE - mean) / std)
        lifted = lift(weight * (CENTRE / std)[:, None, None], grid)
        source, sign = (value.to(weight.device) for value in self.transform(channels, grid.block_size))
        return (sign[:, None, None] * lifted[:, source]).to(dtype), bias.repeat_interleave(grid.ratio**2).to(dtype)

    def release(self, weight: Tensor, bias: Tensor, plain_shape: tuple[int, ...], grid: Grid) -> tuple[Tensor, Tensor]:
        """Invert :meth:`absorb`.

        Args:
            weight: (O * (M/s)**2, n, K, K).
            bias: (O * (M/s)**2,).
            plain_shape: (O, C, k, k).
            grid: Of the convolution.

        Returns:
            Weight (O, C, k, k) and bias (O,) of the plain convolution.
        """
        dtype, channels = weight.dtype, plain_shape[1]
        source, sign = (value.to(weight.device) for value in self.transform(channels, grid.block_size))
        lifted = torch.empty_like(weight, dtype=torch.float64)
        lifted[:, source] = sign[:, None, None] * weight.double()
        mean, std = (value.to(lifted).expand(channels) for value in (self.mean, self.std))
        plain = unlift(lifted, plain_shape, grid) / (CENTRE / std)[:, None, None]
        bias = bias.double().reshape(plain_shape[0], -1).mean(1)
        return plain.to(dtype), (bias - torch.einsum('ocuv,c->o', plain, (CENTRE - mean) / std)).to(dtype)

    def border(self, channels: int, block_size: int) -> Tensor:
        """Return (n,), float64: an encrypted, normalised block of the mean colour, which plain zero padding means."""
        mean = self.mean.double().expand(channels)
        source, sign = self.transform(channels, block_size)
        return sign * ((mean - CENTRE) / CENTRE).repeat_interleave(block_size**2)[source]

    def transform(self, channels: int, block_size: int) -> tuple[Tensor, Tensor]:
        """Return the encryption of a normalised block x, as ``sign * x[source]``: int64 (n,) and float64 (n,).

        Raises:
            ConfigError: The cipher is ffx, which is not affine.
        """
        samples = channels * block_size**2
        if self.keyed_cipher is None:
            return torch.arange(samples), torch.ones(samples, dtype=torch.float64)
        source, sign = self.keyed_cipher.cipher_for(channels).transform.signed_permutation()
        # from the specification's order of samples (row, column, channel) to the grid's (channel, row, column)
        place = torch.arange(samples).reshape(channels, block_size, block_size)
        place = (place.flip(0) if channels == 3 and not self.rgb else place).permute(1, 2, 0).flatten()
        grid_source, grid_sign = torch.empty_like(place), torch.empty(samples, dtype=torch.float64)
        grid_source[place] = place[torch.from_numpy(source)]
        grid_sign[place] = torch.from_numpy(sign).double()
        return grid_source, grid_sign
