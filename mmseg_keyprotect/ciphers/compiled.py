"""Tables of ffx in C, and the library of compiled.c: the same samples as the numpy form, in a fraction of the time.

The library is built with the package where there is a C compiler. It runs on processors with AVX2.
"""

from __future__ import annotations

import ctypes
import warnings
from functools import cache, lru_cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_WIDTHS = 8  # rows are kept for so many image widths


@cache
def library() -> ctypes.CDLL | None:
    """Return the library; None where it was not built or does not run on this processor."""
    files = (Path(__file__).with_name(f'_compiled{suffix}') for suffix in EXTENSION_SUFFIXES)
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        return None
    try:
        loaded = ctypes.CDLL(str(file))
        supported = bool(loaded.kp_supported())
    except (OSError, AttributeError) as error:
        warnings.warn(f'Expected to load {file.name}, but {error}. The ciphers go on without it.', stacklevel=2)
        return None
    return loaded if supported else None


class LookUp:
    """The table of ffx for whole images, in both directions.

    An image is P planes of H rows of W samples: one plane of W * C samples a row where channels lie side by side.

    Args:
        mask: uint8 (P, M, w), 0 or 255: which of the w samples of each row of a block are inverted before.
        keyed: bool (P, M, w), which samples are looked up.
        table: uint16 (256,).
        domain: All values of the table are below it.

    Example:
        >>> if library() is not None:
        ...     tables = LookUp(np.zeros((1, 1, 2), np.uint8), np.array([[[True, False]]]), np.arange(500, 756), 1000)
        ...     out = np.empty((1, 1, 4), np.uint16)
        ...     tables.encrypt(np.array([[[7, 7, 8, 8]]], np.uint8), out)
        ...     assert out.tolist() == [[[507, 7, 508, 8]]]
    """

    def __init__(
        self, mask: npt.NDArray[np.uint8], keyed: npt.NDArray[np.bool_], table: npt.NDArray[Any], domain: int
    ) -> None:
        self.mask, self.keyed, self.table = mask, keyed, np.asarray(table, np.uint16)
        self._back = np.full((2, domain + 1), -1, np.int16)
        self._back[0, :256] = self._back[1, self.table] = np.arange(256)
        self._rows = lru_cache(_WIDTHS)(self._make_rows)
        self._offsets = lru_cache(_WIDTHS)(self._make_offsets)

    def encrypt(self, image: npt.NDArray[np.uint8], out: npt.NDArray[np.uint16]) -> None:
        """Write ``table[x XOR mask]`` where samples are looked up, and ``x XOR mask`` elsewhere.

        Args:
            image: uint8 (P, H, W), with contiguous rows.
            out: uint16 (P, H, W), contiguous.
        """
        mask, places, counts = self._rows(image.shape[2])
        for plane, target, *row in zip(image, out, mask, places, counts, strict=True):
            _call('kp_look_up', plane, plane.strides[0], target, *plane.shape, np.int32(len(mask[0])), *row, self.table)

    def decrypt(self, image: npt.NDArray[np.uint16], out: npt.NDArray[np.uint8]) -> bool:
        """Undo the table, not the mask. The arrays are contiguous.

        Args:
            image: uint16 (P, H, W).
            out: uint8 (P, H, W).

        Returns:
            Whether every value is in the table.
        """
        offsets, size = self._offsets(image.shape[2]), np.uint16(self._back.shape[1])
        return not any(
            [
                _call('kp_look_back', plane, target, *plane.shape, np.int32(len(row)), row, self._back, size)
                for plane, target, row in zip(image, out, offsets, strict=True)
            ]
        )

    def _make_rows(self, width: int) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Return the mask, the places that are looked up, and their number, for whole rows of an image."""
        mask, keyed = (np.tile(one, width // one.shape[2]) for one in (self.mask, self.keyed))
        # keyed places first, in their order
        places = np.argsort(np.logical_not(keyed), axis=2, kind='stable').astype(np.int32)
        return mask, places, keyed.sum(axis=2, dtype=np.int64)

    def _make_offsets(self, width: int) -> npt.NDArray[np.uint16]:
        """Return where the inverse table of every sample of whole rows begins."""
        return np.tile(self.keyed, width // self.keyed.shape[2]).astype(np.uint16) * np.uint16(self._back.shape[1])


def _call(name: str, *arguments: Any) -> int:
    """Call a function of the library with arrays, and numbers, int64 unless they have a dtype."""
    return int(getattr(library(), name)(*map(_argument, arguments)))


def _argument(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return ctypes.c_void_p(value.ctypes.data)
    return np.ctypeslib.as_ctypes_type(np.asarray(value).dtype)(int(value))
