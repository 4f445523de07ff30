"""Folders on this machine and in object storage, by path or by a URL of fsspec, such as ``s3://bucket/folder``."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mmseg_keyprotect.errors import MissingDependencyError, MissingFileError, OutputError
from mmseg_keyprotect.files import replacing
from mmseg_keyprotect.sealing.sealed_files import open_file


class SourceFile(NamedTuple):
    """A file as it was when its folder was listed.

    Args:
        path: Below the folder, with ``/``.
        size: In bytes.
        stamp: What changes with the contents: the time of modification, or the ETag of an object.
    """

    path: str
    size: int
    stamp: str


class Storage:
    """A folder.

    Args:
        url: A path, or a URL of a file system that fsspec knows.

    Raises:
        MissingDependencyError: fsspec, or the package for the kind of URL, is not installed.

    Example:
        >>> folder = Storage('memory://example')
        >>> with folder.put('a/b.txt') as file:
        ...     _ = file.write(b'text')
        >>> [file.path for file in folder.walk()], folder.read('a/b.txt')
        (['a/b.txt'], b'text')
    """

    def __init__(self, url: str | Path) -> None:
        self.url = str(url).rstrip('/') or '/'
        try:
            from fsspec.core import url_to_fs

            self._fs, root = url_to_fs(self.url)
        except ImportError as error:
            raise MissingDependencyError(
                f'Expected fsspec and the package for {self.url}, but: {error}. Install it: '
                'pip install "mmseg-keyprotect[datasets]", and s3fs or gcsfs for object storage.'
            ) from None
        except ValueError as error:
            raise MissingFileError(f'Expected a folder, but {self.url}: {error}. Check the URL.') from None
        self.root = str(root).rstrip('/')
        self.local = 'file' in ([self._fs.protocol] if isinstance(self._fs.protocol, str) else self._fs.protocol)

    def walk(self) -> list[SourceFile]:
        """List all files below the folder, sorted by path. Hidden files and folders are left out.

        Raises:
            MissingFileError: The folder does not exist or cannot be listed.
        """
        if not self._fs.isdir(self.root):
            raise MissingFileError(f'Expected a folder, but {self.url} is none. Check the path.')
        found = []
        self._fs.invalidate_cache()
        for path, about in self._fs.find(self.root, detail=True).items():
            name = str(path)[len(self.root) :].lstrip('/')
            if not any(part.startswith('.') for part in name.split('/')):
                found.append(SourceFile(name, int(about['size']), _stamp(about)))
        return sorted(found)

    def names(self) -> set[str]:
        """Return the names of the files in the folder itself; none if it does not exist yet."""
        self._fs.invalidate_cache()
        if not self._fs.isdir(self.root):
            return set()
        return {str(path).rpartition('/')[2] for path in self._fs.ls(self.root, detail=False)}

    def open(self, path: str) -> io.BufferedReader:
        """Open a file for reading; it can seek.

        Raises:
            MissingFileError: There is no such file, or it cannot be read.
        """
        if self.local:
            return open_file(self._at(path))
        try:
            opened: io.BufferedReader = self._fs.open(self._at(path), 'rb')
            return opened
        except (OSError, ValueError) as error:
            raise MissingFileError(
                f'Expected to read {self.url}/{path}, but: {_reason(error)}. Check the path and its permissions.'
            ) from None

    def read(self, path: str) -> bytes:
        """Return the contents of a file."""
        with self.open(path) as file:
            return file.read()

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return bool(self._fs.isfile(self._at(path)))

    @contextmanager
    def put(self, path: str) -> Iterator[Any]:
        """Yield an open binary file, which becomes the file ``path`` at the end, whole. An error leaves nothing.

        A file for object storage is written to the temporary folder first.

        Raises:
            OutputError: It cannot be written.
        """
        if self.local:
            target = Path(self._at(path))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f'Expected to write {target}, but: {_reason(error)}. Name another place.') from None
            with replacing(target) as temporary, open(temporary, 'wb') as file:
                yield file
            return
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            try:
                with self._fs.open(self._at(path), 'wb') as remote:  # an object appears when it is closed
                    shutil.copyfileobj(file, remote, 1 << 22)
            except OSError as error:
                raise OutputError(f'Expected to write {self.url}/{path}, but: {_reason(error)}. Try again.') from None

    def remove(self, path: str) -> None:
        """Remove a file if it is there."""
        if self.exists(path):
            self._fs.rm_file(self._at(path))

    def _at(self, path: str) -> str:
        return f'{self.root}/{path}'

    def __repr__(self) -> str:
        return f'Storage({self.url!r})'


def inside(path: str) -> bool:
    """Tell whether a path stays below the folder that it is joined to; those of a manifest may be hostile.

    Example:
        >>> inside('images/a.png'), inside('../a.png'), inside('/etc/passwd')
        (True, False, False)
    """
    parts = path.replace('\\', '/').split('/')
    return (
        bool(path) and ':' not in parts[0] and not any(part in ('', '.', '..') for part in parts) and '\0' not in path
    )


def _stamp(about: dict[str, Any]) -> str:
    """Return what changes with the contents of a file."""
    names = ('ETag', 'etag', 'mtime', 'LastModified', 'created')
    return next((str(about[name]) for name in names if about.get(name)), '')


def _reason(error: Exception) -> str:
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__


def same_place(one: Storage, other: Storage) -> bool:
    """Tell whether one of two folders lies in the other."""
    a, b = (os.path.realpath(each.root) if each.local else each.root for each in (one, other))
    return one.local == other.local and (f'{a}/'.startswith(f'{b}/') or f'{b}/'.startswith(f'{a}/'))
