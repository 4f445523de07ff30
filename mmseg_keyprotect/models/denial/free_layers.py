"""Linear layers that an attacker trains in the place of a key."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.models.stem.block_stem import BlockStem


class BlockLinear(nn.Conv2d):
    """Maps the n = C * M * M samples of every M x M block of an image linearly; it starts as the identity.

    Args:
        channels: C, of the image.
        block_size: M, in pixels.

    Example:
        >>> import torch
        >>> image = torch.rand(1, 3, 8, 8)
        >>> torch.equal(BlockLinear(3, 4)(image), image)
        True
    """

    bias: nn.Parameter

    def __init__(self, channels: int, block_size: int) -> None:
        samples = channels * block_size**2
        super().__init__(samples, samples, 1)
        self.block_size = block_size
        nn.init.dirac_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Map the blocks of images.

        Args:
            images: Floating point (N, C, H, W), H and W multiples of M. NaN, with which batches are padded before a
                block stem, stays as it is.

        Returns:
            A tensor of the same shape.
        """
        padding = images.isnan()
        blocks = super().forward(F.pixel_unshuffle(images.masked_fill(padding, 0), self.block_size))
        return F.pixel_shuffle(blocks, self.block_size).masked_fill(padding, math.nan)


class ChannelLinear(nn.Linear):
    """Maps the channels of a feature map linearly, as a 1x1 convolution does; it starts as the identity.

    Args:
        channels: C, of the feature map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)
        nn.init.eye_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        """Map a feature map, floating point of any shape, whose channels are the dimension ``dim``."""
        return super().forward(x.movedim(dim, -1)).movedim(-1, dim)


class FreeLayers(nn.Module):
    """An un-key: linear layers before a backbone and at each of its encrypted places, which replace the key.

    Args:
        block_size: M of the cipher of images, in pixels; None where images are not encrypted.
        features: The encryption of feature maps, if there is one.
        channels: C, of the image.
    """

    def __init__(self, block_size: int | None, features: FeatureEncryption | None, channels: int = 3) -> None:
        super().__init__()
        self.blocks = None if block_size is None else BlockLinear(channels, block_size)
        places = [] if features is None else features.places
        maps = [ChannelLinear(place.channels) for place in places]
        self.maps = nn.ModuleList(maps)
        self.functions = {place.name: one for place, one in zip(places, maps, strict=True)}
        """A layer for every encrypted place, by its name, as
        :meth:`~mmseg_keyprotect.models.features.encryption.FeatureEncryption.use` takes it."""

    def put_before(self, backbone: nn.Module) -> RemovableHandle | None:
        """Map the images that a backbone gets from now on.

        The layer of a backbone with a block stem works on images from -1 to 1, where a key is a signed permutation.

        Returns:
            The handle that removes the layer; None where images are not encrypted.
        """
        if (blocks := self.blocks) is None:
            return None
        stem = next((part for part in backbone.modules() if isinstance(part, BlockStem)), None)

        def mapped(module: nn.Module, args: tuple[Tensor, ...]) -> Tensor:
            return blocks(args[0]) if stem is None else stem.normalised(blocks(stem.centred(args[0])))

        return backbone.register_forward_pre_hook(mapped)

    @contextmanager
    def before(self, backbone: nn.Module) -> Iterator[None]:
        """Map the images that a backbone gets within the ``with`` block."""
        hook = self.put_before(backbone)
        try:
            yield
        finally:
            if hook:
                hook.remove()
