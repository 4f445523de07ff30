"""Writing files so that nothing is half-written and nothing is overwritten."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mmseg_keyprotect.errors import ConfigError, OutputError


def write_new(path: str | Path, text: str) -> Path:
    """Write a new text file: it is there whole, or not at all.

    Args:
        path: The file to make; its folder must exist.
        text: What it will hold.

    Raises:
        ConfigError: The file exists, or its folder does not.
    """
    with new_file(path) as temporary:
        temporary.write_text(text, encoding='utf-8')
    return Path(path)


@contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary file to write, which becomes the file ``path`` at the end, or vanishes with an error.

    Raises:
        ConfigError: The file exists, or its folder does not.
    """
    path = Path(path)
    _check_new(path)
    try:
        with _temporary(path, os.link) as temporary:  # unlike a rename a link fails where the file exists
            yield temporary
    except FileExistsError:
        raise _exists(path) from None


def replace_file(path: Path, text: str) -> None:
    """Write a text file of our own in the place of the old one: at any moment there is one of them, whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding='utf-8')


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary file to write, which takes the place of ``path`` at the end, or vanishes with an error."""
    with _temporary(path, os.replace) as temporary:
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
def _temporary(path: Path, become: Callable[[Path, Path], None]) -> Iterator[Path]:
    """Give a temporary file beside ``path``, which ``become`` gives that name once it is written; it never stays."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    os.close(handle)
    temporary = Path(name)
    try:
        with _named(path):
            yield temporary
            _flush(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        become(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which becomes the folder ``path`` at the end, or vanishes with an error.

    Raises:
        ConfigError: The folder exists, or the one that shall hold it does not.
    """
    path = Path(path)
    _check_new(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f'.{path.name}.'))
    try:
        with _named(path):
            yield temporary
            for file in temporary.iterdir():
                _flush(file)
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():  # a rename would take the place of an empty folder
            raise _exists(path)
        os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary)
        raise


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Say of a full disk which file it is that cannot be written."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise ConfigError(
            f'Expected room for {path}, but: {error.strerror}. Nothing is left of it; free space.'
        ) from None


def _check_new(path: Path) -> None:
    if os.path.lexists(path):
        raise _exists(path)
    if not path.parent.is_dir():
        raise ConfigError(f'Expected the folder {path.parent} to exist, but it does not. Make it first.')


def _exists(path: Path) -> ConfigError:
    return ConfigError(f'Expected a new file or folder, but {path} exists and is never overwritten. Name another.')


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _flush(file: Path) -> None:
    with open(file, 'rb') as opened:
        os.fsync(opened.fileno())
