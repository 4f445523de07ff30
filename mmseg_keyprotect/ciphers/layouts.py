"""Where the samples of blocks lie in images (docs/spec.md, section 3)."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.compiled_moves import View
from mmseg_keyprotect.ciphers.transform import BlockTransform

Layout = Literal['hwc', 'chw']

Image: TypeAlias = npt.NDArray[Any]
"""uint8 or uint16, (H, W, C) or (C, H, W)."""


class BlockLayouts:
    """The samples of blocks in images of either layout.

    Args:
        transform: The transform of one block.
        block_size: M, in pixels.
        channels: C.

    Example:
        >>> layouts = BlockLayouts(BlockTransform.flip(np.ones(12, dtype=bool)), block_size=2, channels=3)
        >>> layouts.order('chw').tolist()
        [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    """

    def __init__(self, transform: BlockTransform, block_size: int, channels: int) -> None:
        self.transform, self.block_size, self.channels = transform, block_size, channels

    def rows_of_blocks(self, image: Image, layout: Layout) -> Image:
        """View an image as rows of blocks: (H / M, M * W * C), or (C, H / M, M * W)."""
        m = self.block_size
        if layout == 'hwc':
            return image.reshape(image.shape[0] // m, -1)
        return image.reshape(image.shape[0], image.shape[1] // m, -1)

    def views(self, image: Image, layout: Layout) -> list[Image]:
        """View an image as arrays (H / M, W / M, samples) that together hold the n samples of every block, in order."""
        m = self.block_size
        if layout == 'hwc':
            height, width, channels = image.shape
            rows = image.reshape(height // m, m, width // m, m * channels)
            return [rows[:, u] for u in range(m)]
        channels, height, width = image.shape
        rows = image.reshape(channels, height // m, m, width // m, m)
        return [rows[c, :, u] for c in range(channels) for u in range(m)]

    def view(self, image: Image, layout: Layout) -> View:
        """Return where the rows of blocks lie in an image whose rows are contiguous."""
        planes = [0] if layout == 'hwc' else [c * image.strides[0] for c in range(self.channels)]
        pitch = image.strides[0 if layout == 'hwc' else 1]
        rows = [plane + u * pitch for plane in planes for u in range(self.block_size)]
        return View(image, rows, self.block_size * pitch)

    def numbers_of_blocks(self, image: Image, layout: Layout) -> tuple[int, int]:
        """Return the numbers of blocks in a column and in a row of an image."""
        height, width = image.shape[:2] if layout == 'hwc' else image.shape[1:]
        return height // self.block_size, width // self.block_size

    def planes(self, image: Image, layout: Layout) -> Image:
        """View an image as planes (P, H, samples of a row)."""
        return image.reshape(1, image.shape[0], -1) if layout == 'hwc' else image

    def order(self, layout: Layout) -> Image:
        """Return the number that every sample of the views has in the specification: int64 (n,)."""
        m, channels = self.block_size, self.channels
        order = np.arange(self.transform.samples)
        return order if layout == 'hwc' else order.reshape(m, m, channels).transpose(2, 0, 1).reshape(-1)

    def sources(self, layout: Layout, to: Layout) -> Image:
        """Return where every sample of the views comes from: int64 (n,)."""
        return np.argsort(self.order(layout))[self.transform.source[self.order(to)]]

    def mask_row(self, layout: Layout, width: int) -> Image:
        """Return the mask of one row of blocks."""
        if layout == 'hwc':
            return self._tile(self.transform.mask, width)
        m, channels = self.block_size, self.channels
        planes = self.transform.mask.reshape(m, m, channels).transpose(2, 0, 1)
        return np.tile(planes, (1, 1, width // m)).reshape(channels, 1, m * width)

    def source_row(self, width: int) -> Image:
        """Return the source of every sample of one row of blocks."""
        m, channels = self.block_size, self.channels
        u, v, c = np.unravel_index(self._tile(self.transform.source, width), (m, m, channels))
        left = np.arange(width // m)[None, :, None] * m * channels
        return (
            u * width * channels + v * channels + c + np.broadcast_to(left, (m, width // m, m * channels)).reshape(-1)
        )

    def keyed_row(self, width: int) -> Image:
        """Return which samples of one row of blocks are looked up."""
        return self._tile(self.transform.keyed, width)

    def _tile(self, block: Image, width: int) -> Image:
        """Repeat a block's values (n,) along one row of blocks: (M * W * C,)."""
        m = self.block_size
        return np.tile(block.reshape(m, 1, -1), (1, width // m, 1)).reshape(-1)
