"""Tar archives that are written and read one member at a time, with the place and the SHA-256 of every member."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from hashlib import sha256
from typing import IO, NamedTuple, Protocol

from mmseg_keyprotect.errors import DamagedFileError

_HASH = 'MMSEG_KEYPROTECT.sha256'


class Entry(NamedTuple):
    """A file in an archive.

    Args:
        path: Its name, with ``/``.
        size: In bytes.
        sha256: In lowercase hex.
        offset: Where its first byte lies in the archive.
    """

    path: str
    size: int
    sha256: str
    offset: int


class Writable(Protocol):
    """A file, or the writer of a sealed one."""

    def write(self, content: bytes, /) -> int:
        """Write bytes."""
        ...


class TarWriter:
    """Writes a tar archive of PAX format, which every tar reads. Names are those of files; all else is fixed.

    Args:
        file: An open binary file; it stays open.

    Example:
        >>> import io
        >>> archive = TarWriter(io.BytesIO())
        >>> archive.add('a.txt', b'text').offset
        1536
    """

    def __init__(self, file: Writable) -> None:
        self._file, self._position = file, 0

    def add(self, path: str, content: bytes) -> Entry:
        """Write one file, and return its entry."""
        info, digest = tarfile.TarInfo(path), sha256(content).hexdigest()
        info.size, info.mode, info.pax_headers = len(content), 0o644, {_HASH: digest}
        self._write(info.tobuf(tarfile.PAX_FORMAT))
        entry = Entry(path, len(content), digest, self._position)
        self._write(content)
        self._write(bytes(-len(content) % tarfile.BLOCKSIZE))
        return entry

    def finish(self) -> None:
        """Write the end of the archive."""
        self._write(bytes(2 * tarfile.BLOCKSIZE))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._position += len(content)


def entries_of(file: IO[bytes], name: str) -> Iterator[Entry]:
    """Yield the entries of an archive that :class:`~mmseg_keyprotect.shards.tar.TarWriter` wrote.

    Args:
        file: The archive; it can seek.
        name: The name of the archive, for errors.

    Raises:
        DamagedFileError: It is no such archive.
    """
    try:
        with tarfile.open(fileobj=file, mode='r:') as archive:
            for member in archive:
                yield Entry(member.name, member.size, member.pax_headers[_HASH], member.offset_data)
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise DamagedFileError(
            f'Expected a shard that this package wrote, but {name} is none: {error}. Remove it, and run the command '
            'again.'
        ) from None
