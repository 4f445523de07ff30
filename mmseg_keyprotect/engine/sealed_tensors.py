"""The tensors of a sealed safetensors file; only those that are asked for are decrypted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from mmseg_keyprotect.engine.sealed_checkpoints import without_scheme
from mmseg_keyprotect.errors import CheckpointError, MissingDependencyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing import Opener, SealedReader
from mmseg_keyprotect.sealing.sealed_files import open_file, required_publisher

MAX_HEADER = 100_000_000
"""Bytes of the header, at most, as in the library safetensors."""

METADATA = '__metadata__'


class SealedTensors(Mapping[str, Tensor]):
    """The tensors of a sealed safetensors file, by name, in memory alone.

    A tensor is decrypted each time it is asked for; threads can ask at the same time. Damage in the chunks that hold it
    is found then; use :func:`~mmseg_keyprotect.sealing.open_sealed` to verify a whole file.

    Args:
        path: The sealed file, with or without ``sealed://``.
        key: The secret key or another identity, if any.
        passphrase: The passphrase, or a function that returns it, if any.

    Attributes:
        metadata: The texts that the file holds beside its tensors.

    Raises:
        MissingDependencyError: The package safetensors is not installed.
        MissingFileError: The file is missing or cannot be read.
        SignatureError: The signature is of another file, of another publisher, or missing where one is required.
        LicenceError: The licence has not begun, has ended, or is for another device.
        WrongKeyError: The file is sealed for other recipients.
        SealedFileError: The file is damaged.
        CheckpointError: It holds no safetensors.

    Example:
        >>> with SealedTensors('model.sealed', key) as tensors:      # doctest: +SKIP
        ...     model.load_state_dict(tensors)
    """

    @without_locals
    def __init__(self, path: str | Path, key: SecretKey | Opener | None = None, passphrase: Passphrase = None) -> None:
        try:
            import safetensors.torch
        except ImportError:
            raise MissingDependencyError.of('safetensors', 'safetensors') from None
        self._load = safetensors.torch.load
        self._path, self._lock = str(path), Lock()
        self._reader = SealedReader(open_file(without_scheme(path)), key, passphrase, required_publisher())
        try:
            self._entries = self._read_header()
        except BaseException:
            self._reader.close()
            raise
        self.metadata: dict[str, str] = self._entries.pop(METADATA, {})

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        begin, end = entry['data_offsets']
        empty = self._checked({**entry, 'shape': [0], 'data_offsets': [0, 0]}, b'')
        shape = entry.get('shape')
        whole = isinstance(shape, list) and all(type(side) is int and side >= 0 for side in shape)
        if not whole or math.prod(shape) * empty.itemsize != end - begin:
            # the library says what is wrong, or reads a type whose elements are smaller than a byte
            return self._checked({**entry, 'data_offsets': [0, end - begin]}, self._read(begin, bytearray(end - begin)))
        content = torch.empty(end - begin, dtype=torch.uint8)
        self._read(begin, content.numpy())
        return content.view(empty.dtype).reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __enter__(self) -> SealedTensors:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read_header(self) -> dict[str, Any]:
        size = int.from_bytes(self._reader.read(8) or b'', 'little')
        self._start = 8 + size
        if not 0 < size <= min(MAX_HEADER, self._reader.size):
            raise self._damaged('its header has no possible length')
        try:
            entries = json.loads(self._reader.read(size) or b'')
            for name, entry in entries.items():
                if name != METADATA:
                    begin, end = entry['data_offsets']
                    if not (type(begin) is type(end) is int and 0 <= begin <= end <= self._reader.size - self._start):
                        raise ValueError(f'the place of {name!r} is impossible')
            return dict(entries)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise self._damaged(str(error)) from None

    def _read(self, begin: int, content: Any) -> Any:
        """Fill memory with what lies at a place behind the header, and return it."""
        view = memoryview(content)
        with self._lock:  # the reader has one position
            self._reader.seek(self._start + begin)
            read = self._reader.readinto(view)
        if read != view.nbytes:
            raise self._damaged('a tensor lies behind its end')
        return content

    def _checked(self, entry: Mapping[str, Any], content: bytes | bytearray) -> Tensor:
        """Return a tensor that the library reads from a file of this one tensor."""
        try:
            head = json.dumps(dict(tensor=entry)).encode()
            return self._load(b''.join((len(head).to_bytes(8, 'little'), head, content)))['tensor']
        except Exception as error:  # a class of the library's own
            raise self._damaged(str(error)) from None

    def _damaged(self, reason: str) -> CheckpointError:
        return CheckpointError(f'Expected safetensors in {self._path}, but {reason}. Use another copy of the file.')
