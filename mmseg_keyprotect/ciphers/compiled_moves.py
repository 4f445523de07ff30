"""Moving the samples of blocks in C: sixteen neighbouring bytes are permuted by one instruction of the processor.

A unit, some blocks side by side, is cut into chunks of sixteen bytes, and each chunk of the result is put together
from those that hold its samples.
"""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.compiled import library

CHUNK = 16
"""Bytes that one instruction permutes."""

MAX_STEPS = 0.3
"""Most instructions for one sample. OpenCV moves larger blocks as fast: M = 8 with three channels takes 0.54."""

_MAX_UNIT = 512  # bytes
_NOWHERE = 128  # an index that gives 0


class _Plan(ctypes.Structure):
    """``Plan`` of compiled.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ('rows_in', 'rows_out', 'width_in', 'width_out', 'blocks', 'pairs')),
        *((name, ctypes.c_void_p) for name in ('first', 'source', 'target', 'picks', 'flips')),
    )


class View(NamedTuple):
    """Where the rows of the blocks of an image lie in memory.

    Args:
        image: uint8, with contiguous rows.
        rows: Where each row of the first block begins, in bytes.
        band: Bytes from a row of blocks to the next.
    """

    image: npt.NDArray[Any]
    rows: list[int]
    band: int

    def arguments(self) -> tuple[Any, ...]:
        """Return the three arguments of the library."""
        return (
            ctypes.c_void_p(self.image.ctypes.data),
            (ctypes.c_int64 * len(self.rows))(*self.rows),
            ctypes.c_int64(self.band),
        )


class Move:
    """A permutation of the samples of every block, with signs, of uint8 images whose rows are contiguous.

    Args:
        source: int64 (n,), where every sample comes from. Samples are counted row by row of a block.
        mask: uint8 (n,), 0 or 255, which samples are inverted.
        width_in: Samples in a row of a block.
        width_out: Samples in a row of a block of the result.
        blocks: Blocks in a unit.

    Example:
        >>> swap = Move(np.array([3, 2, 1, 0]), np.zeros(4, np.uint8), width_in=4, width_out=4, blocks=4)
        >>> swap.steps
        1
    """

    def __init__(
        self, source: npt.NDArray[np.int64], mask: npt.NDArray[np.uint8], width_in: int, width_out: int, blocks: int
    ) -> None:
        chunks = [(row, at) for row in range(len(source) // width_out) for at in range(0, blocks * width_out, CHUNK)]
        if len(chunks) % 2:
            chunks.append(chunks[-1])
        first, flips = [0], np.zeros((len(chunks), CHUNK), np.uint8)
        origins: list[tuple[int, int]] = []
        picks: list[npt.NDArray[np.uint8]] = []
        for pair in range(0, len(chunks), 2):
            wanted: dict[tuple[int, int], npt.NDArray[np.uint8]] = {}
            for lane, (row, at) in enumerate(chunks[pair : pair + 2]):
                for place in range(at, min(at + CHUNK, blocks * width_out)):
                    block, byte = divmod(place, width_out)
                    sample = row * width_out + byte
                    row_in, byte_in = divmod(int(source[sample]), width_in)
                    chunk, pick = divmod(block * width_in + byte_in, CHUNK)
                    step = wanted.setdefault((row_in, chunk * CHUNK), np.full((2, CHUNK), _NOWHERE, np.uint8))
                    step[lane, place - at] = pick
                    flips[pair + lane, place - at] = mask[sample]
            origins += wanted.keys()
            picks += wanted.values()
            first.append(len(origins))
        self.steps, self.blocks = len(origins), blocks
        self._arrays = (
            np.array(first, np.int32), np.array(origins, np.int32), np.array(chunks, np.int32), np.stack(picks), flips
        )  # fmt: skip
        sizes = (len(source) // width_in, len(source) // width_out, blocks * width_in, blocks * width_out, blocks)
        self._plan = _Plan(*sizes, len(chunks) // 2, *(array.ctypes.data for array in self._arrays))

    def __call__(self, image: View, out: View, bands: int, blocks: int) -> None:
        """Move the samples of an image.

        Args:
            image: The image.
            out: Where the result is written. It must not overlap with the image.
            bands: Rows of blocks.
            blocks: Blocks in a row of blocks.
        """
        loaded = library()
        assert loaded is not None  # who made this has asked
        loaded.kp_move(
            ctypes.byref(self._plan), *image.arguments(), *out.arguments(), *map(ctypes.c_int64, (bands, blocks))
        )


def make_move(source: npt.NDArray[np.int64], mask: npt.NDArray[np.uint8], width_in: int, width_out: int) -> Move | None:
    """Return the fastest :class:`~mmseg_keyprotect.ciphers.compiled_moves.Move`, or None where OpenCV is faster."""
    if library() is None:
        return None
    moves = [
        Move(source, mask, width_in, width_out, blocks)
        for blocks in range(1, CHUNK + 1)
        if _reach(blocks * width_in) <= width_in  # not past the end of the image
        and _reach(blocks * width_out) <= width_out
        and (not _reach(blocks * width_out) or blocks * width_out <= 2 * CHUNK)  # both chunks of a row in one pair
        and blocks * len(source) <= _MAX_UNIT
    ]
    best = min(moves, key=lambda move: move.steps / move.blocks, default=None)
    return best if best is not None and best.steps <= MAX_STEPS * best.blocks * len(source) else None


def _reach(width: int) -> int:
    """Return how many bytes the chunks of a row reach past its end."""
    return -width % CHUNK
