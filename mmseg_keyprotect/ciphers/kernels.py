"""Block transforms of whole images on numpy arrays, limited by the speed of the memory.

Where OpenCV is loaded, as it always is under MMSegmentation, its ``mixChannels`` and ``LUT`` do the work, about twice
as fast as numpy's ``take`` and with the same bytes. docs/performance.md has the measurements.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import WrongKeyError

DOMAIN = 1000
"""The number of values of a table: ffx gives 0 to 999."""

Layout = Literal['hwc', 'chw']

Image: TypeAlias = npt.NDArray[Any]
"""uint8 or uint16, (H, W, C) or (C, H, W)."""

_TABLES = 8  # a kernel keeps its tables for so many image widths
_MAX_CHANNELS = 128  # the limit of an OpenCV array


class Kernel:
    """One block transform, prepared for images of any size.

    Args:
        transform: The transform of one block.
        block_size: M, in pixels.
        channels: C.

    Example:
        >>> kernel = Kernel(BlockTransform.flip(np.ones(12, dtype=bool)), block_size=2, channels=3)
        >>> kernel.encrypt(np.zeros((2, 2, 3), dtype=np.uint8))[0, 0].tolist()
        [255, 255, 255]
    """

    def __init__(self, transform: BlockTransform, block_size: int, channels: int) -> None:
        self.transform, self.block_size, self.channels = transform, block_size, channels
        self._moves, self._flips = transform.moves, bool(transform.mask.any())
        self._undo: Kernel | None = None
        self._row = lru_cache(_TABLES)(self._make_row)
        self._band = lru_cache(_TABLES)(self._make_band)
        self._pairs = lru_cache(3)(self._make_pairs)
        self._luts = lru_cache(2)(self._make_luts)

    def encrypt(
        self, image: Image, layout: Layout = 'hwc', out: Image | None = None, to: Layout | None = None
    ) -> Image:
        """Transform an image.

        Args:
            image: uint8 (H, W, C) or (C, H, W); H and W are multiples of M.
            layout: The layout of the image.
            out: A contiguous array for the result. Default: a new array.
            to: The layout of the result. Default: the layout of the image.

        Returns:
            The result, uint8, or uint16 with a table.
        """
        table, cv2, to = self.transform.table, sys.modules.get('cv2'), to or layout
        if cv2 is None or self.block_size * self.channels > _MAX_CHANNELS:
            cv2 = None
            if 'chw' in (layout, to) and (layout != to or self._moves or table is not None):
                image = self.encrypt(image if layout == 'hwc' else image.transpose(1, 2, 0))
                image = image if to == 'hwc' else image.transpose(2, 0, 1)
                return np.ascontiguousarray(image) if out is None else _copied(image, out)
        if out is None:
            height, width, channels = image.shape if layout == 'hwc' else (*image.shape[1:], image.shape[0])
            shape = (height, width, channels) if to == 'hwc' else (channels, height, width)
            out = np.empty(shape, dtype=np.uint8 if table is None else np.uint16)
        image = _upright(image, cv2)
        if moves := self._moves or to != layout:
            image = self._move(cv2, image, layout, out if table is None else np.empty(out.shape, dtype=np.uint8), to)
        if table is not None:
            return self._look_up(cv2, image, to, out)
        if self._flips:
            mask = self._row(to, out.shape[-1 if to == 'chw' else 1])
            np.bitwise_xor(self._rows(image, to), mask, out=self._rows(out, to))
        elif not moves:
            out[:] = image
        return out

    def decrypt(self, image: Image, layout: Layout = 'hwc') -> Image:
        """Invert :meth:`~mmseg_keyprotect.ciphers.kernels.Kernel.encrypt`.

        Args:
            image: uint8, or uint16 with a table, (H, W, C) or (C, H, W).
            layout: The layout of the image and of the result.

        Returns:
            The plain image, uint8.

        Raises:
            WrongKeyError: A value is not in the table.
        """
        if self._undo is None:
            self._undo = Kernel(self.transform.inverse(), self.block_size, self.channels)
        if self.transform.table is None:
            return self._undo.encrypt(image, layout)
        if layout == 'chw':
            return np.ascontiguousarray(self.decrypt(image.transpose(1, 2, 0)).transpose(2, 0, 1))
        return self._undo.encrypt(self._look_up_back(np.ascontiguousarray(image)))

    def _move(self, cv2: Any, image: Image, layout: Layout, out: Image, to: Layout) -> Image:
        """Write the samples of an image to their new positions in ``out``, whose layout is ``to``."""
        if cv2 is not None:
            cv2.mixChannels(self._views(image, layout), self._views(out, to), self._pairs(layout, to))
        else:
            rows = self._rows(image, layout)
            np.take(rows, self._band(image.shape[1]), axis=1, out=self._rows(out, layout), mode='clip')
        return out

    def _look_up(self, cv2: Any, image: Image, layout: Layout, out: Image) -> Image:
        """Write ``table_k(x XOR mask)`` to ``out``."""
        if cv2 is not None:
            views = zip(self._views(image, layout), self._views(out, layout), self._luts(layout), strict=True)
            for source, target, lut in views:
                written = cv2.LUT(source, lut, target)
                if written is not target:
                    target[...] = written
            return out
        mask, offset = self._row(layout, image.shape[1]), self._keyed_row(image.shape[1]) * np.int16(256)
        table = np.concatenate([np.arange(256, dtype=np.uint16), self._table.view(np.uint16)])
        for source, target in zip(self._rows(image, layout), self._rows(out, layout), strict=True):
            np.take(table, (source ^ mask) + offset, out=target, mode='clip')
        return out

    def _look_up_back(self, image: Image) -> Image:
        """Undo the table, for the layout ``hwc``."""
        out, offset = np.empty(image.shape, dtype=np.uint8), self._keyed_row(image.shape[1]) * np.int16(DOMAIN)
        inverse = np.full(2 * DOMAIN, -1, dtype=np.int16)
        inverse[:256] = inverse[DOMAIN + self._table] = np.arange(256)
        for source, target in zip(self._rows(image, 'hwc'), self._rows(out, 'hwc'), strict=True):
            plain = inverse[source + offset] if source.max() < DOMAIN else np.array([-1])
            if (plain < 0).any():
                raise unknown_value()
            target[:] = plain
        return out

    def _rows(self, image: Image, layout: Layout) -> Image:
        """View an image as rows of blocks: (H / M, M * W * C), or (C, H / M, M * W)."""
        m = self.block_size
        if layout == 'hwc':
            return image.reshape(image.shape[0] // m, -1)
        return image.reshape(image.shape[0], image.shape[1] // m, -1)

    def _views(self, image: Image, layout: Layout) -> list[Image]:
        """View an image as arrays (H / M, W / M, samples) that together hold the n samples of every block, in order."""
        m = self.block_size
        if layout == 'hwc':
            height, width, channels = image.shape
            rows = image.reshape(height // m, m, width // m, m * channels)
            return [rows[:, u] for u in range(m)]
        channels, height, width = image.shape
        rows = image.reshape(channels, height // m, m, width // m, m)
        return [rows[c, :, u] for c in range(channels) for u in range(m)]

    def _order(self, layout: Layout) -> Image:
        """Return the number that every sample of the views has in the specification: int64 (n,)."""
        m, channels = self.block_size, self.channels
        order = np.arange(self.transform.samples)
        return order if layout == 'hwc' else order.reshape(m, m, channels).transpose(2, 0, 1).reshape(-1)

    def _make_pairs(self, layout: Layout, to: Layout) -> Image:
        """Return the pairs (from, to) for ``mixChannels``, flattened: int32 (2n,)."""
        source = np.argsort(self._order(layout))[self.transform.source[self._order(to)]]
        return np.stack([source, np.arange(len(source))], axis=1, dtype=np.int32, casting='same_kind').reshape(-1)

    def _make_luts(self, layout: Layout) -> list[Image]:
        """Return the look-up tables of all samples, one array for each view."""
        named = self.transform.renamed(self._order(layout))
        values = np.arange(256, dtype=np.uint8)[:, None] ^ named.mask
        looked_up = np.where(named.keyed, self._table.view(np.uint16)[values], values.astype(np.uint16))
        per_view = self.block_size * (self.channels if layout == 'hwc' else 1)
        return [
            np.ascontiguousarray(looked_up[None, :, start : start + per_view])
            for start in range(0, len(named.mask), per_view)
        ]

    def _make_row(self, layout: Layout, width: int) -> Image:
        """Return the mask of one row of blocks."""
        if layout == 'hwc':
            return self._tile(self.transform.mask, width)
        m, channels = self.block_size, self.channels
        planes = self.transform.mask.reshape(m, m, channels).transpose(2, 0, 1)
        return np.tile(planes, (1, 1, width // m)).reshape(channels, 1, m * width)

    def _make_band(self, width: int) -> Image:
        """Return the source of every sample of one row of blocks."""
        m, channels = self.block_size, self.channels
        u, v, c = np.unravel_index(self._tile(self.transform.source, width), (m, m, channels))
        left = np.arange(width // m)[None, :, None] * m * channels
        return (
            u * width * channels + v * channels + c + np.broadcast_to(left, (m, width // m, m * channels)).reshape(-1)
        )

    @property
    def _table(self) -> npt.NDArray[np.int16]:
        """The table, for code that runs only where there is one."""
        if self.transform.table is None:
            raise ValueError('Expected a transform with a table, but it has none.')
        return self.transform.table

    def _keyed_row(self, width: int) -> Image:
        """Return which samples of one row of blocks are looked up."""
        return self._tile(self.transform.keyed, width)

    def _tile(self, block: Image, width: int) -> Image:
        """Repeat a block's values (n,) along one row of blocks: (M * W * C,)."""
        m = self.block_size
        return np.tile(block.reshape(m, 1, -1), (1, width // m, 1)).reshape(-1)


def _upright(image: Image, cv2: Any) -> Image:
    """Return an image whose rows are contiguous. A crop stays a view.

    OpenCV turns the flipped views that RandomFlip makes many times faster than numpy.
    """
    inner, (height, width) = image.strides[1:], (stride < 0 for stride in image.strides[:2])
    if cv2 is None or image.strides[2] != 1 or abs(inner[0]) != image.shape[2]:
        return np.ascontiguousarray(image)
    if not (height or width):
        return image
    upright = image[:: -1 if height else 1, :: -1 if width else 1]
    turned: Image = cv2.flip(upright, -1 if height and width else int(width)).reshape(image.shape)
    return turned


def _copied(image: Image, out: Image) -> Image:
    out[:] = image
    return out


def unknown_value() -> WrongKeyError:
    """Return the error for a sample that is not in the table of the key."""
    return WrongKeyError(
        'Expected an image that was encrypted with a table of this key, but got values that this key never produces. '
        'Decrypt with the key, the cipher and the block size that encrypted the image.'
    )
