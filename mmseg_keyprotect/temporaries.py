"""Files that are not whole yet, and how they get their names.

Until it is whole, a file has no name where the system offers that (O_TMPFILE of Linux), so that nothing of it stays
behind whatever ends the process. Elsewhere, and for folders, it has a hidden name and a lock. The next run that makes
the same file or folder removes those whose process has ended.
"""

from __future__ import annotations

import errno
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has none; nothing is swept there
    fcntl = None  # type: ignore[assignment]

MIN_AGE = 60
"""Seconds for which a hidden file is left alone, so that none is removed between its making and its lock."""

OPEN_FILES = Path('/proc/self/fd')
"""Where Linux gives every open file a path, also one without a name."""


@contextmanager
def temporary_file(path: Path) -> Iterator[Path]:
    """Yield a file to write beside ``path``, for ``become_new`` or ``take_place``. It never stays behind."""
    temporary, handle = _unnamed_file(path) or _named_file(path)
    try:
        yield temporary
    finally:
        os.close(handle)
        if temporary.parent != OPEN_FILES:
            temporary.unlink(missing_ok=True)


def _unnamed_file(path: Path) -> tuple[Path, int] | None:
    """Open a file without a name beside ``path``; None where the system or the file system has none."""
    if not hasattr(os, 'O_TMPFILE') or not OPEN_FILES.is_dir():
        return None
    try:
        handle = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
            return None
        raise
    return OPEN_FILES / str(handle), handle


def _named_file(path: Path) -> tuple[Path, int]:
    """Make a hidden file beside ``path``, and lock it while this process lives. What earlier runs left is removed."""
    sweep(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=hidden_prefix(path))
    _lock(handle)
    return Path(name), handle


def locked(folder: Path) -> int:
    """Open a hidden folder, and lock it until it is closed or the process ends."""
    handle = os.open(folder, os.O_RDONLY)
    _lock(handle)
    return handle


def become_new(temporary: Path, path: Path) -> None:
    """Give a temporary file its name. Unlike a rename, this fails where the name is taken."""
    try:
        if temporary.parent == OPEN_FILES:
            here = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
            try:  # with a folder, os.link follows the link to the open file
                os.link(temporary, path.name, src_dir_fd=here, dst_dir_fd=here)
            finally:
                os.close(here)
        else:
            os.link(temporary, path)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        _without_links(temporary, path)
    flush_names(path.parent)


def flush_names(folder: Path) -> None:
    """Let the disk keep the names in a folder, where the system and the permissions allow that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _without_links(temporary: Path, path: Path) -> None:
    """Give a temporary file its name on a file system without hard links, such as those of USB sticks."""
    if temporary.parent == OPEN_FILES:
        named, handle = _named_file(path)
        try:
            shutil.copyfile(temporary, named)
            shutil.copymode(temporary, named)
            _without_links(named, path)
        finally:
            os.close(handle)
            named.unlink(missing_ok=True)
        return
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # fails where the name is taken
    try:
        os.replace(temporary, path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def take_place(temporary: Path, path: Path) -> None:
    """Put a temporary file in the place of ``path``."""
    whole = temporary
    if temporary.parent == OPEN_FILES:  # a file without a name cannot take the place of another
        with suppress(FileExistsError):
            return become_new(temporary, path)
        whole = path.with_name(f'.{path.name}.whole-{secrets.token_hex(8)}')  # this name is not swept
        become_new(temporary, whole)
    try:
        os.replace(whole, path)
    except BaseException:
        whole.unlink(missing_ok=True)
        raise
    flush_names(path.parent)


def hidden_prefix(path: Path) -> str:
    """Return the beginning of the hidden names for what becomes ``path``."""
    return f'.{path.name}.keyprotect-'


def sweep(path: Path) -> None:
    """Remove what a process that was killed left of ``path``: old hidden files and folders that nobody locks.

    Nothing is removed where files cannot be locked, as on some network mounts.
    """
    for stale in path.parent.glob(f'{glob.escape(hidden_prefix(path))}*'):
        with suppress(OSError):  # another process holds it, or has removed it
            if time.time() - stale.lstat().st_mtime < MIN_AGE:
                continue
            handle = os.open(stale, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                if _lock(handle):
                    shutil.rmtree(stale) if stale.is_dir() else stale.unlink()
            finally:
                os.close(handle)


def _lock(handle: int) -> bool:
    """Lock an open file or folder, and tell whether that worked."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process holds it, or the file system has no locks
        return False
    return True
