"""Writing files atomically: a file appears whole or not at all, and a new file never overwrites another."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mmseg_keyprotect.errors import OutputError
from mmseg_keyprotect.temporaries import (
    become_new,
    flush_names,
    hidden_prefix,
    locked,
    sweep,
    take_place,
    temporary_file,
)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def write_new(path: str | Path, text: str) -> Path:
    """Write a new UTF-8 text file, which appears whole or not at all.

    Args:
        path: The file to make; its folder must exist.
        text: The contents.

    Returns:
        The path.

    Raises:
        OutputError: The file exists, its folder does not exist, or it cannot be written.

    Example:
        >>> write_new('notes.txt', 'text').read_text()
        'text'
    """
    with new_file(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
    return Path(path)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file to write, which becomes the file ``path`` at the end. An error removes it.

    Args:
        path: The file to make; its folder must exist.

    Raises:
        OutputError: The file exists, its folder does not exist, or it cannot be written.

    Example:
        >>> with new_file('data.bin') as temporary:
        ...     _ = temporary.write_bytes(b'data')
        >>> Path('data.bin').read_bytes()
        b'data'
    """
    path = Path(path)
    _check_new(path)
    with _temporary(path, become_new) as temporary:
        yield temporary


def hash_file(path: str | Path) -> str:
    """Return the SHA-256 of a file, in lowercase hex."""
    found = hashlib.sha256()
    with open(path, 'rb') as file:
        while chunk := file.read(1 << 20):
            found.update(chunk)
    return found.hexdigest()


def replace_file(path: Path, text: str) -> None:
    """Write a UTF-8 text file in the place of an old one. At any moment one of the two exists, whole.

    Raises:
        OutputError: The file cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file to write, which takes the place of ``path`` at the end. An error removes it.

    Raises:
        OutputError: The file cannot be written.
    """
    with _temporary(path, take_place) as temporary:
        yield temporary


def make_folder(folder: Path) -> list[str]:
    """Make a folder if it does not exist, and return the sorted names of what it holds.

    Raises:
        OutputError: The folder cannot be made, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir())
        with tempfile.TemporaryFile(dir=folder):
            return found
    except OSError as error:
        raise OutputError(
            f'Expected a folder to write to, but {folder}: {error.strerror}. Name another with -o.'
        ) from None


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder to fill, which becomes the folder ``path`` at the end. An error removes it.

    Args:
        path: The folder to make; the folder around it must exist.

    Raises:
        OutputError: The folder exists, the folder around it does not exist, or it cannot be written.

    Example:
        >>> with new_folder('results') as temporary:
        ...     _ = (temporary / 'table.md').write_text('|a|b|')
        >>> [file.name for file in Path('results').iterdir()]
        ['table.md']
    """
    path = Path(path)
    _check_new(path)
    with _reporting(path):
        sweep(path)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=hidden_prefix(path)))
        lock = locked(temporary)
    try:
        with _reporting(path, only_room=True):
            yield temporary
            for part in temporary.rglob('*'):
                flush_names(part) if part.is_dir() else _flush(part)
        with _reporting(path):
            os.chmod(temporary, 0o777 & ~_umask())
            if path.exists():  # a rename would replace an empty folder
                raise _exists(path)
            os.rename(temporary, path)
        flush_names(path.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(lock)


@contextmanager
def _temporary(path: Path, become: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Yield a temporary file beside ``path``, which ``become`` finally gives that name. It never stays behind."""
    with ExitStack() as stack:
        with _reporting(path):
            temporary = stack.enter_context(temporary_file(path))
        with _reporting(path, only_room=True):
            yield temporary
            _flush(temporary)
        with _reporting(path):
            os.chmod(temporary, 0o666 & ~_umask())
            become(temporary, path)


@contextmanager
def _reporting(path: Path, only_room: bool = False) -> Iterator[None]:
    """Turn errors of the operating system into an OutputError that names ``path``.

    Args:
        path: The file or folder that is made.
        only_room: Let all errors except a full disk pass, because the caller's code may concern other files.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise OutputError(
                f'Expected room for {path}, but got: {error.strerror}. Nothing of it is left; free some space.'
            ) from None
        if only_room:
            raise
        if isinstance(error, FileExistsError):
            raise _exists(path) from None
        raise OutputError(
            f'Expected to write {path}, but got: {error.strerror}. Choose another place, or change its permissions.'
        ) from None


def _check_new(path: Path) -> None:
    if '\0' in str(path):
        raise OutputError(f'Expected the path of a file, but got {str(path)!r} with a null byte. Name another.')
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise OutputError(f'Expected the folder {path.parent} to exist, but it does not. Make it first.')


def _exists(path: Path) -> OutputError:
    return OutputError(f'Expected a new file or folder, but {path} exists and is never overwritten. Name another.')


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _flush(file: Path) -> None:
    with open(file, 'rb') as opened:
        os.fsync(opened.fileno())
