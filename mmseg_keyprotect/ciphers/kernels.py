"""Block transforms of whole images on numpy arrays, limited by the speed of the memory.

The library of compiled.c does the work where it was built and is faster. Otherwise OpenCV's ``mixChannels`` and ``LUT``
do, where OpenCV is loaded, as it always is under MMSegmentation, and else numpy's ``take``. All give the same bytes.
docs/performance.md has the measurements.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.compiled import LookUp, library
from mmseg_keyprotect.ciphers.compiled_moves import Move, make_move
from mmseg_keyprotect.ciphers.layouts import BlockLayouts, Image, Layout
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import WrongKeyError

DOMAIN = 1000
"""The number of values of a table: ffx gives 0 to 999."""

_TABLES = 8  # a kernel keeps its tables for so many image widths
_MAX_CHANNELS = 128  # the limit of an OpenCV array


class Kernel(BlockLayouts):
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
        super().__init__(transform, block_size, channels)
        self._moves, self._flips = transform.moves, bool(transform.mask.any())
        self._undo: Kernel | None = None
        self._row = lru_cache(_TABLES)(self.mask_row)
        self._band = lru_cache(_TABLES)(self.source_row)
        self._pairs = lru_cache(3)(self._make_pairs)
        self._luts = lru_cache(2)(self._make_luts)
        self._move_of = lru_cache(4)(self._make_move)
        self._look_up_of = lru_cache(2)(self._make_look_up)

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
        table, to = self.transform.table, to or layout
        cv2 = sys.modules.get('cv2') if self.block_size * self.channels <= _MAX_CHANNELS else None
        moves = self._moves or to != layout
        move, look_up = self._move_of(layout, to) if moves else None, self._look_up_of(to)
        by_numpy = cv2 is None and ((moves and move is None) or (table is not None and look_up is None))
        if by_numpy and 'chw' in (layout, to):
            image = self.encrypt(image if layout == 'hwc' else image.transpose(1, 2, 0))
            image = image if to == 'hwc' else image.transpose(2, 0, 1)
            return np.ascontiguousarray(image) if out is None else _copied(image, out)
        if out is None:
            height, width, channels = image.shape if layout == 'hwc' else (*image.shape[1:], image.shape[0])
            shape = (height, width, channels) if to == 'hwc' else (channels, height, width)
            out = np.empty(shape, dtype=np.uint8 if table is None else np.uint16)
        image = _upright(image, cv2)
        if moves:
            moved = out if table is None else np.empty(out.shape, dtype=np.uint8)
            if move is not None:
                move(self.view(image, layout), self.view(moved, to), *self.numbers_of_blocks(image, layout))
                image = moved
            else:
                image = self._move(cv2, image, layout, moved, to)
        if table is not None and look_up is not None:
            look_up.encrypt(self.planes(image, to), self.planes(out, to))
        elif table is not None:
            self._look_up(cv2, image, to, out)
        elif self._flips and move is None:
            mask = self._row(to, out.shape[-1 if to == 'chw' else 1])
            np.bitwise_xor(self.rows_of_blocks(image, to), mask, out=self.rows_of_blocks(out, to))
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
        look_up = self._look_up_of(layout)
        if layout == 'chw' and look_up is None:
            return np.ascontiguousarray(self.decrypt(image.transpose(1, 2, 0)).transpose(2, 0, 1))
        image, looked_up = np.ascontiguousarray(image), np.empty(image.shape, dtype=np.uint8)
        if look_up is None:
            self._look_up_back(image, looked_up)
        elif not look_up.decrypt(self.planes(image, layout), self.planes(looked_up, layout)):
            raise unknown_value()
        return self._undo.encrypt(looked_up, layout)

    def _move(self, cv2: Any, image: Image, layout: Layout, out: Image, to: Layout) -> Image:
        """Write the samples of an image to their new positions in ``out``, whose layout is ``to``."""
        if cv2 is not None:
            cv2.mixChannels(self.views(image, layout), self.views(out, to), self._pairs(layout, to))
        else:
            rows = self.rows_of_blocks(image, layout)
            np.take(rows, self._band(image.shape[1]), axis=1, out=self.rows_of_blocks(out, layout), mode='clip')
        return out

    def _look_up(self, cv2: Any, image: Image, layout: Layout, out: Image) -> Image:
        """Write ``table_k(x XOR mask)`` to ``out``."""
        if cv2 is not None:
            views = zip(self.views(image, layout), self.views(out, layout), self._luts(layout), strict=True)
            for source, target, lut in views:
                written = cv2.LUT(source, lut, target)
                if written is not target:
                    target[...] = written
            return out
        mask, offset = self._row(layout, image.shape[1]), self.keyed_row(image.shape[1]) * np.int16(256)
        table = np.concatenate([np.arange(256, dtype=np.uint16), self._table.view(np.uint16)])
        for source, target in zip(self.rows_of_blocks(image, layout), self.rows_of_blocks(out, layout), strict=True):
            np.take(table, (source ^ mask) + offset, out=target, mode='clip')
        return out

    def _look_up_back(self, image: Image, out: Image) -> None:
        """Undo the table, for the layout ``hwc``."""
        offset = self.keyed_row(image.shape[1]) * np.int16(DOMAIN)
        inverse = np.full(2 * DOMAIN, -1, dtype=np.int16)
        inverse[:256] = inverse[DOMAIN + self._table] = np.arange(256)
        for source, target in zip(self.rows_of_blocks(image, 'hwc'), self.rows_of_blocks(out, 'hwc'), strict=True):
            plain = inverse[source + offset] if source.max() < DOMAIN else np.array([-1])
            if (plain < 0).any():
                raise unknown_value()
            target[:] = plain

    def _make_move(self, layout: Layout, to: Layout) -> Move | None:
        """Return the compiled move, which inverts too where no table follows."""
        if library() is None:
            return None
        mask = self.transform.mask if self.transform.table is None else np.zeros_like(self.transform.mask)
        widths = (self.block_size * (self.channels if one == 'hwc' else 1) for one in (layout, to))
        return make_move(self.sources(layout, to), mask[self.order(to)], *widths)

    def _make_look_up(self, layout: Layout) -> LookUp | None:
        """Return the compiled table."""
        if self.transform.table is None or library() is None:
            return None
        named, planes = self.transform.renamed(self.order(layout)), 1 if layout == 'hwc' else self.channels
        shape = (planes, self.block_size, -1)
        return LookUp(named.mask.reshape(shape), named.keyed.reshape(shape), self._table, DOMAIN)

    def _make_pairs(self, layout: Layout, to: Layout) -> Image:
        """Return the pairs (from, to) for ``mixChannels``, flattened: int32 (2n,)."""
        source = self.sources(layout, to)
        return np.stack([source, np.arange(len(source))], axis=1, dtype=np.int32, casting='same_kind').reshape(-1)

    def _make_luts(self, layout: Layout) -> list[Image]:
        """Return the look-up tables of all samples, one array for each view."""
        named = self.transform.renamed(self.order(layout))
        values = np.arange(256, dtype=np.uint8)[:, None] ^ named.mask
        looked_up = np.where(named.keyed, self._table.view(np.uint16)[values], values.astype(np.uint16))
        per_view = self.block_size * (self.channels if layout == 'hwc' else 1)
        return [
            np.ascontiguousarray(looked_up[None, :, start : start + per_view])
            for start in range(0, len(named.mask), per_view)
        ]

    @property
    def _table(self) -> npt.NDArray[np.int16]:
        """The table, for code that runs only where there is one."""
        if self.transform.table is None:
            raise ValueError('Expected a transform with a table, but it has none.')
        return self.transform.table


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
