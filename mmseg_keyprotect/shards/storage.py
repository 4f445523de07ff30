"""Folders on this machine and in object storage, by path or by a URL of fsspec, such as ``s3://bucket/folder``."""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from mmseg_keyprotect.errors import ConfigError, MissingDependencyError, MissingFileError, OutputError
from mmseg_keyprotect.files import new_file, replacing
from mmseg_keyprotect.sealing.sealed_files import open_file

READ_AHEAD = 1 << 20
"""Bytes that are fetched from object storage beyond what is asked for."""


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
        """List all files below the folder, sorted by path. Hidden files and folders are left out, links followed.

        Raises:
            MissingFileError: The folder does not exist, or it or one below cannot be listed.
            ConfigError: A link leads to a folder around it, or a name is that of no file.
        """
        if not self._fs.isdir(self.root):
            raise MissingFileError(f'Expected a folder, but {self.url} is none. Check the path.')
        self._fs.invalidate_cache()
        return sorted(self._walk_local() if self.local else self._walk_remote())

    def _walk_local(self) -> Iterator[SourceFile]:
        for folder, folders, names in os.walk(self.root, onerror=self._refuse_listing, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith('.')]
            for path in (os.path.join(folder, name) for name in folders):
                if os.path.islink(path) and os.path.realpath(path) in _around(folder, self.root):
                    raise ConfigError(
                        f'Expected folders that end, but the link {path} leads to a folder around it. Remove it.'
                    )
            for name in names:
                if not name.startswith('.'):
                    yield self.about(os.path.relpath(os.path.join(folder, name), self.root).replace(os.sep, '/'))

    def _walk_remote(self) -> Iterator[SourceFile]:
        from fsspec import AbstractFileSystem

        try:
            # fsspec's own find leaves out what it cannot list; that of object storage does not
            own = type(self._fs).find is not AbstractFileSystem.find
            found = self._fs.find(self.root, detail=True).values() if own else list(self._list(self.root))
        except OSError as error:
            self._refuse_listing(error)
        for about in found:
            name = str(about['name'])[len(self.root) :].lstrip('/')
            if not name or name.endswith('/'):  # an object that stands for a folder
                continue
            if not any(part.startswith('.') for part in name.split('/')):
                yield SourceFile(name, int(about['size']), _stamp(about))

    def _list(self, folder: str) -> Iterator[dict[str, Any]]:
        for about in self._fs.ls(folder, detail=True):
            if about['type'] != 'directory':
                yield about
            elif about['name'].rstrip('/') != folder:
                yield from self._list(about['name'].rstrip('/'))

    def _refuse_listing(self, error: OSError) -> NoReturn:
        raise MissingFileError(
            f'Expected to list {error.filename or self.url}, but: {_reason(error)}. Check its permissions.'
        ) from None

    def about(self, path: str) -> SourceFile:
        """Return what a file is now.

        Raises:
            MissingFileError: There is no such file, or it cannot be seen.
            ConfigError: It is no file, but a pipe or a device.
        """
        try:
            if not self.local:
                self._fs.invalidate_cache(self._at(path).rpartition('/')[0])
                about = self._fs.info(self._at(path))
                return SourceFile(path, int(about['size']), _stamp(about))
            found = os.stat(self._at(path))
        except OSError as error:
            self._refuse(path, error)
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f'Expected a file, but {self.url}/{path} is a pipe or a device. Remove it.')
        return SourceFile(path, found.st_size, str(found.st_mtime_ns))

    def names(self) -> set[str]:
        """Return the names of the files in the folder itself, without hidden ones; none if it does not exist yet."""
        self._fs.invalidate_cache()
        if not self._fs.isdir(self.root):
            return set()
        names = (str(path).rpartition('/')[2] for path in self._fs.ls(self.root, detail=False))
        return {name for name in names if name and not name.startswith('.')}

    def open(self, path: str) -> io.BufferedReader:
        """Open a file for reading; it can seek.

        Raises:
            MissingFileError: There is no such file, or it cannot be read.
        """
        if self.local:
            return open_file(self._at(path))
        try:
            opened: io.BufferedReader = self._fs.open(self._at(path), 'rb', block_size=READ_AHEAD)
            return opened
        except (OSError, ValueError) as error:
            self._refuse(path, error)

    def read(self, path: str, listed: SourceFile | None = None) -> bytes:
        """Return the contents of a file.

        Args:
            path: The file.
            listed: What it was when it was listed, and must still be. Default: anything.

        Raises:
            MissingFileError: There is no such file, or it cannot be read.
            ConfigError: It has changed since it was listed.
        """
        try:
            content: bytes = Path(self._at(path)).read_bytes() if self.local else self._fs.cat_file(self._at(path))
        except (OSError, ValueError) as error:
            self._refuse(path, error)
        if listed is not None and (len(content) != listed.size or self.about(path) != listed):
            raise ConfigError(
                f'Expected {self.url}/{path} as it was when the work began, but it has changed. Restore it, or begin '
                'again with another output folder.'
            )
        return content

    def _refuse(self, path: str, error: Exception) -> NoReturn:
        raise MissingFileError(
            f'Expected to read {self.url}/{path}, but: {_reason(error)}. Check the path and its permissions.'
        ) from None

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file."""
        return os.path.isfile(self._at(path)) if self.local else bool(self._fs.isfile(self._at(path)))

    @contextmanager
    def put(self, path: str, new: bool = False) -> Iterator[Any]:
        """Yield an open binary file, which becomes the file ``path`` at the end, whole. An error leaves nothing.

        A file for object storage is written to the temporary folder first.

        Args:
            path: The file.
            new: Whether it is an error if it is there by then.

        Raises:
            OutputError: It cannot be written.
        """
        if self.local:
            target = Path(self._at(path))
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f'Expected to write {target}, but: {_reason(error)}. Name another place.') from None
            with (new_file if new else replacing)(target) as temporary, open(temporary, 'wb') as file:
                yield file
            return
        with tempfile.TemporaryDirectory() as folder:
            part = Path(folder) / 'part'
            with open(part, 'wb') as file:
                yield file
            try:  # an upload in parts appears when all of them are there
                self._fs.put_file(str(part), self._at(path), mode='create' if new else 'overwrite')
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
    drive = parts[0][1:2] == ':'
    return bool(path) and not drive and not any(part in ('', '.', '..') for part in parts) and '\0' not in path


def _around(folder: str, root: str) -> set[str]:
    """Return the real paths of a folder below a root, of those that led to it, and of those around the root."""
    paths = (Path(folder), *Path(folder).parents, *Path(os.path.realpath(root)).parents)
    return {os.path.realpath(path) for path in paths}


def _stamp(about: dict[str, Any]) -> str:
    """Return what changes with the contents of a file."""
    names = ('ETag', 'etag', 'mtime', 'LastModified', 'created')
    found = next((about[name] for name in names if about.get(name)), '')
    return str(found.timestamp() if isinstance(found, datetime) else found)


def _reason(error: Exception) -> str:
    return getattr(error, 'strerror', None) or str(error) or type(error).__name__


def same_place(one: Storage, other: Storage) -> bool:
    """Tell whether one of two folders lies in the other."""
    a, b = (os.path.realpath(each.root) if each.local else each.root for each in (one, other))
    return one.local == other.local and (f'{a}/'.startswith(f'{b}/') or f'{b}/'.startswith(f'{a}/'))
