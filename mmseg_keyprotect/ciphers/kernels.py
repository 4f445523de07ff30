"""Block transforms of whole images on numpy arrays, at the pace of the memory.

Where OpenCV is loaded, as it always is under MMSegmentation, its ``mixChannels`` and ``LUT`` are used, about twice as
fast as numpy's ``take``; the bytes are the same. docs/performance.md has the measurements.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import WrongKeyError

DOMAIN = 1000
"""The values of ffx are 0 to 999."""

Layout = Literal['hwc', 'chw']

_TABLES = 8  # how many image widths a kernel keeps its tables for
_MAX_CHANNELS = 128  # of an OpenCV array


class Kernel:
    """One block transform, ready to be applied to images of any size.

    Args:
        transform: Of one block.
        block_size: M, in pixels.
        channels: C.
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
        self, image: np.ndarray, layout: Layout = 'hwc', out: np.ndarray | None = None, to: Layout | None = None
    ) -> np.ndarray:
        """Transform an image.

        Args:
            image: uint8 (H, W, C) or (C, H, W); H and W are multiples of M.
            layout: Which of them.
            out: Where to write the result, contiguous; a new array by default.
            to: The layout of the result; by default that of the image.

        Returns:
            The result; uint8, with a table uint16.
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

    def decrypt(self, image: np.ndarray, layout: Layout = 'hwc') -> np.ndarray:
        """Invert :meth:`encrypt`.

        Raises:
            WrongKeyError: A value is one that the table never gives.
        """
        if self._undo is None:
            self._undo = Kernel(self.transform.inverse(), self.block_size, self.channels)
        if self.transform.table is None:
            return self._undo.encrypt(image, layout)
        if layout == 'chw':
            return np.ascontiguousarray(self.decrypt(image.transpose(1, 2, 0)).transpose(2, 0, 1))
        return self._undo.encrypt(self._look_up_back(np.ascontiguousarray(image)))

    def _move(self, cv2: Any, image: np.ndarray, layout: Layout, out: np.ndarray, to: Layout) -> np.ndarray:
        """Write the samples of an image in their new places to ``out``, whose layout is ``to``."""
        if cv2 is not None:
            cv2.mixChannels(self._views(image, layout), self._views(out, to), self._pairs(layout, to))
        else:
            rows = self._rows(image, layout)
            np.take(rows, self._band(image.shape[1]), axis=1, out=self._rows(out, layout), mode='clip')
        return out

    def _look_up(self, cv2: Any, image: np.ndarray, layout: Layout, out: np.ndarray) -> np.ndarray:
        """Write ``table_k(x XOR mask)`` to ``out``."""
        if cv2 is not None:
            views = zip(self._views(image, layout), self._views(out, layout), self._luts(layout), strict=True)
            for source, target, lut in views:
                written = cv2.LUT(source, lut, target)
                if written is not target:
                    target[...] = written
            return out
        mask, offset = self._row(layout, image.shape[1]), self._keyed_row(image.shape[1]) * np.int16(256)
        table = np.concatenate([np.arange(256, dtype=np.uint16), self.transform.table.view(np.uint16)])
        for source, target in zip(self._rows(image, layout), self._rows(out, layout), strict=True):
            np.take(table, (source ^ mask) + offset, out=target, mode='clip')
        return out

    def _look_up_back(self, image: np.ndarray) -> np.ndarray:
        """Undo the table; HWC alone."""
        out, offset = np.empty(image.shape, dtype=np.uint8), self._keyed_row(image.shape[1]) * np.int16(DOMAIN)
        inverse = np.full(2 * DOMAIN, -1, dtype=np.int16)
        inverse[:256] = inverse[DOMAIN + self.transform.table] = np.arange(256)
        for source, target in zip(self._rows(image, 'hwc'), self._rows(out, 'hwc'), strict=True):
            plain = inverse[source + offset] if source.max() < DOMAIN else np.array([-1])
            if (plain < 0).any():
                raise unknown_value()
            target[:] = plain
        return out

    def _rows(self, image: np.ndarray, layout: Layout) -> np.ndarray:
        """View an image as rows of blocks: (H / M, M * W * C), or (C, H / M, M * W)."""
        m = self.block_size
        if layout == 'hwc':
            return image.reshape(image.shape[0] // m, -1)
        return image.reshape(image.shape[0], image.shape[1] // m, -1)

    def _views(self, image: np.ndarray, layout: Layout) -> list[np.ndarray]:
        """View an image as arrays (H / M, W / M, samples) that together hold the n samples of every block.

        They are in the order of :meth:`_order`.
        """
        m = self.block_size
        if layout == 'hwc':
            height, width, channels = image.shape
            rows = image.reshape(height // m, m, width // m, m * channels)
            return [rows[:, u] for u in range(m)]
        channels, height, width = image.shape
        rows = image.reshape(channels, height // m, m, width // m, m)
        return [rows[c, :, u] for c in range(channels) for u in range(m)]

    def _order(self, layout: Layout) -> np.ndarray:
        """Return the number, in the specification, of every sample of :meth:`_views`: int64 (n,)."""
        m, channels = self.block_size, self.channels
        order = np.arange(self.transform.samples)
        return order if layout == 'hwc' else order.reshape(m, m, channels).transpose(2, 0, 1).reshape(-1)

    def _make_pairs(self, layout: Layout, to: Layout) -> np.ndarray:
        """Return what mixChannels copies, int32: from, to, from, to, and so on."""
        source = np.argsort(self._order(layout))[self.transform.source[self._order(to)]]
        return np.stack([source, np.arange(len(source))], axis=1, dtype=np.int32, casting='same_kind').reshape(-1)

    def _make_luts(self, layout: Layout) -> list[np.ndarray]:
        """Return the look-up table of every sample, one array for each view."""
        named = self.transform.renamed(self._order(layout))
        values = np.arange(256, dtype=np.uint8)[:, None] ^ named.mask
        looked_up = np.where(named.keyed, self.transform.table.view(np.uint16)[values], values.astype(np.uint16))
        per_view = self.block_size * (self.channels if layout == 'hwc' else 1)
        return [
            np.ascontiguousarray(looked_up[None, :, start : start + per_view])
            for start in range(0, len(named.mask), per_view)
        ]

    def _make_row(self, layout: Layout, width: int) -> np.ndarray:
        """Return the mask of one row of blocks, as :meth:`_rows` has them."""
        if layout == 'hwc':
            return self._tile(self.transform.mask, width)
        m, channels = self.block_size, self.channels
        planes = self.transform.mask.reshape(m, m, channels).transpose(2, 0, 1)
        return np.tile(planes, (1, 1, width // m)).reshape(channels, 1, m * width)

    def _make_band(self, width: int) -> np.ndarray:
        """Return where every sample of one row of blocks comes from."""
        m, channels = self.block_size, self.channels
        u, v, c = np.unravel_index(self._tile(self.transform.source, width), (m, m, channels))
        left = np.arange(width // m)[None, :, None] * m * channels
        return (
            u * width * channels + v * channels + c + np.broadcast_to(left, (m, width // m, m * channels)).reshape(-1)
        )

    def _keyed_row(self, width: int) -> np.ndarray:
        """Return where one row of blocks is looked up."""
        return self._tile(self.transform.keyed, width)

    def _tile(self, block: np.ndarray, width: int) -> np.ndarray:
        """Repeat a block's values (n,) along one row of blocks: (M * W * C,)."""
        m = self.block_size
        return np.tile(block.reshape(m, 1, -1), (1, width // m, 1)).reshape(-1)


def _upright(image: np.ndarray, cv2: Any) -> np.ndarray:
    """Return an image whose rows are contiguous; RandomFlip's are turned by OpenCV, many times faster than by numpy.

    A crop stays the view that it is.
    """
    inner, (height, width) = image.strides[1:], (stride < 0 for stride in image.strides[:2])
    if cv2 is None or image.strides[2] != 1 or abs(inner[0]) != image.shape[2]:
        return np.ascontiguousarray(image)
    if not (height or width):
        return image
    upright = image[:: -1 if height else 1, :: -1 if width else 1]
    return cv2.flip(upright, -1 if height and width else int(width)).reshape(image.shape)


def _copied(image: np.ndarray, out: np.ndarray) -> np.ndarray:
    out[:] = image
    return out


def unknown_value() -> WrongKeyError:
    """Return the error for a value that the table of ffx never gives."""
    return WrongKeyError(
        'Expected an image that was encrypted by ffx with this key, but got values that this key never produces. '
        'Decrypt with the key, the cipher and the block size that encrypted the image.'
    )
