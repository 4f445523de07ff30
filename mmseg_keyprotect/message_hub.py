"""What ``torch.load(weights_only=True)`` makes of the message hub in mmengine's checkpoints.

The message hub holds HistoryBuffers of numpy arrays, which weights_only refuses. numpy's own classes must not be
allowed there: a hostile state of ``numpy.dtype`` ends the process. So the names in the file lead to the classes below,
which check every value, and give numpy's arrays and mmengine's buffers in the end. Source of the format: numpy's
``__reduce__`` of arrays, dtypes and scalars, and ``HistoryBuffer.__getstate__``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from threading import RLock
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

DTYPES = frozenset(f'{kind}{size}' for kind in 'iu' for size in (1, 2, 4, 8)) | {'f2', 'f4', 'f8', 'b1'}
"""The dtypes that are read: plain numbers, without fields, names or objects."""

PLAIN_STATE = (None, None, None, -1, -1, 0)
"""The state of such a dtype after its version and byte order: no subarray, names, fields, size, alignment or flags."""


class PlainDtype:
    """Stands for ``numpy.dtype`` in a checkpoint."""

    def __init__(self, code: Any, align: Any = False, copy: Any = False) -> None:
        if code not in DTYPES:
            raise UnpicklingError(f'Expected one of the dtypes {sorted(DTYPES)}, but got {str(code)[:20]!r}.')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or state[:1] != (3,) or state[1:2] not in (('<',), ('|',)):
            raise UnpicklingError('Expected a dtype in little-endian byte order, but got another state of a dtype.')
        if state[2:] != PLAIN_STATE:
            raise UnpicklingError('Expected a dtype of plain numbers, but got one with fields, names or flags.')


class PlainArray(np.ndarray):
    """Stands for ``numpy.ndarray`` in a checkpoint; it is saved as an ordinary array."""

    def __new__(cls) -> PlainArray:
        """Make the empty array that then gets its state. A checkpoint cannot name a size."""
        return super().__new__(cls, (0,))

    def __setstate__(self, state: Any) -> None:
        if type(state) is not tuple or len(state) != 5:
            raise UnpicklingError('Expected an array of five parts, but got another state of an array.')
        version, shape, plain, fortran, raw = state
        known = version == 1 and isinstance(plain, PlainDtype) and type(fortran) is bool and type(raw) is bytes
        sized = type(shape) is tuple and len(shape) <= 8 and all(type(n) is int and 0 <= n < 1 << 40 for n in shape)
        if not known or not sized or _product(shape) * plain.dtype.itemsize != len(raw):
            raise UnpicklingError('Expected an array whose bytes fill its shape, but got another state of an array.')
        super().__setstate__((1, shape, plain.dtype, fortran, raw))

    def __reduce__(self) -> Any:
        return np.array(self, subok=False).__reduce__()


class PlainHistory:
    """Stands for mmengine's HistoryBuffer in a checkpoint, and becomes one as it gets its state."""

    def __setstate__(self, state: Any) -> None:
        state = state if type(state) is dict else {}
        logs, counts, length = (state.get(name) for name in ('_log_history', '_count_history', 'max_length'))
        arrays = [value for value in (logs, counts) if isinstance(value, np.ndarray) and value.ndim == 1]
        if len(arrays) != 2 or len(arrays[0]) != len(arrays[1]) or type(length) is not int or length < 1:
            raise UnpicklingError('Expected a HistoryBuffer of two arrays of one length, but got another state.')
        self.__class__ = HistoryBuffer
        # the methods for statistics are those of this process; a checkpoint cannot add any
        HistoryBuffer.__init__(self, *(np.array(value, subok=False) for value in arrays), length)


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _reconstruct(kind: Any, shape: Any, code: Any) -> PlainArray:
    """Stand for numpy's function of this name, which makes the empty array that then gets its state."""
    if kind is not PlainArray:
        raise UnpicklingError('Expected numpy.ndarray, but got another class of arrays.')
    return PlainArray()


def _scalar(plain: Any, raw: Any) -> np.generic:
    """Stand for numpy's function of this name, which makes a number of its bytes."""
    if not isinstance(plain, PlainDtype) or type(raw) is not bytes or len(raw) != plain.dtype.itemsize:
        raise UnpicklingError('Expected a number of a plain dtype, but got another state of a number.')
    number: np.generic = np.frombuffer(raw, plain.dtype)[0]
    return number


def _getattr(owner: Any, name: Any) -> str:
    """Stand for ``getattr``, by which a HistoryBuffer names its methods; they are not read."""
    if owner is not PlainHistory or type(name) is not str:
        raise UnpicklingError('Expected a method of HistoryBuffer, but got an attribute of something else.')
    return name


_NAMES: list[tuple[Any, str]] = [
    *((_reconstruct, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),  # where numpy keeps it
    *((_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
    (PlainArray, 'numpy.ndarray'),
    (PlainDtype, 'numpy.dtype'),
    (PlainHistory, 'mmengine.logging.history_buffer.HistoryBuffer'),
    (_getattr, 'builtins.getattr'),
]
_LOCK = RLock()


@contextmanager
def readable_message_hub() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` read mmengine's message hub inside the block.

    What a program has allowed itself stays allowed, but for classes of numpy and those that the message hub has: mixed
    with the ones here, they fail or take hostile states.
    """
    with _LOCK:
        before = torch.serialization.get_safe_globals()
        ours = {name for _, name in _NAMES}
        others = [one for one in before if not _name(one).startswith('numpy.') and _name(one) not in ours]
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals([*others, *_NAMES])
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _name(allowed: Any) -> str:
    """Return the name under which torch finds something that is allowed."""
    if isinstance(allowed, tuple):
        return str(allowed[1])
    return f'{getattr(allowed, "__module__", "")}.{getattr(allowed, "__qualname__", "")}'
