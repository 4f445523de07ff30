"""What the first convolution of a plain model has to absorb: the normalisation of its input, and the key."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.models.stem.lifting import Grid, lift, unlift

CENTRE = 127.5
"""Before a block stem, images are normalised to (x - 127.5) / 127.5, so that negative-positive only changes signs."""


@dataclass(frozen=True)
class StemKeyAbsorber:
    """Turns a plain first convolution into one for encrypted blocks, and back.

    The plain convolution reads images that were normalised by mean and std. The absorbed one reads encrypted images
    that were normalised to -1 to 1. n = C * M * M is the number of samples of a block.

    Args:
        mean: (C,) or (1,), of the plain model's normalisation, 0 to 255.
        std: (C,) or (1,), of the plain model's normalisation, 0 to 255.
        rgb: Whether the model reads the channels of colour images as RGB; else BGR.
        keyed_cipher: The encryption to absorb; None for plain images.

    Example:
        >>> import torch
        >>> absorber = StemKeyAbsorber(mean=torch.tensor([127.5]), std=torch.tensor([127.5]))
        >>> weight, bias = absorber.absorb(torch.rand(8, 3, 4, 4), None, Grid(4, 4, 0, 4))
        >>> weight.shape, bias.shape
        (torch.Size([8, 48, 1, 1]), torch.Size([8]))
    """

    mean: Tensor
    std: Tensor
    rgb: bool = True
    keyed_cipher: KeyedCipher | None = None

    def absorb(self, weight: Tensor, bias: Tensor | None, grid: Grid) -> tuple[Tensor, Tensor]:
        """Turn the weights of a plain first convolution into those of its block stem.

        Args:
            weight: (O, C, k, k), floating point.
            bias: (O,) or None.
            grid: The sizes of the convolution.

        Returns:
            Weight (O * (M/s)**2, n, K, K) and bias (O * (M/s)**2,) of the dtype of ``weight``, for encrypted images
            that are normalised to -1 to 1.

        Raises:
            ConfigError: The cipher cannot be absorbed.
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
        """Invert :meth:`~mmseg_keyprotect.models.stem.absorber.StemKeyAbsorber.absorb`.

        Args:
            weight: (O * (M/s)**2, n, K, K), floating point.
            bias: (O * (M/s)**2,).
            plain_shape: (O, C, k, k).
            grid: The sizes of the convolution.

        Returns:
            Weight (O, C, k, k) and bias (O,) of the plain convolution, of the dtype of ``weight``.

        Raises:
            ConfigError: The cipher cannot be absorbed.
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
        """Return what the zero padding of the plain convolution stands for: an encrypted block of the mean colour.

        Args:
            channels: C, of the image.
            block_size: M, in pixels.

        Returns:
            Float64 (n,), normalised to -1 to 1.
        """
        mean = self.mean.double().expand(channels)
        source, sign = self.transform(channels, block_size)
        return sign * ((mean - CENTRE) / CENTRE).repeat_interleave(block_size**2)[source]

    def transform(self, channels: int, block_size: int) -> tuple[Tensor, Tensor]:
        """Return the encryption of a block x, normalised to -1 to 1, as ``sign * x[source]``.

        Args:
            channels: C, of the image.
            block_size: M, in pixels.

        Returns:
            ``source``, int64 (n,), and ``sign``, float64 (n,), -1 or 1.

        Raises:
            ConfigError: The cipher is ffx, which is not affine.
        """
        samples = channels * block_size**2
        if self.keyed_cipher is None:
            return torch.arange(samples), torch.ones(samples, dtype=torch.float64)
        source, sign = self.keyed_cipher.cipher_for(channels).transform.signed_permutation()
        # the format orders samples by (row, column, channel), the grid by (channel, row, column)
        place = torch.arange(samples).reshape(channels, block_size, block_size)
        place = (place.flip(0) if channels == 3 and not self.rgb else place).permute(1, 2, 0).flatten()
        grid_source, grid_sign = torch.empty_like(place), torch.empty(samples, dtype=torch.float64)
        grid_source[place] = place[torch.from_numpy(source)]
        grid_sign[place] = torch.from_numpy(sign).double()
        return grid_source, grid_sign
