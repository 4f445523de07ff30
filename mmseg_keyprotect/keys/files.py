"""Reading and writing key files and passphrase files safely (docs/spec.md, section 6).

Use :class:`mmseg_keyprotect.keys.SecretKey`. The text of these files is secret, so no error may carry any part of it.
Some errors are therefore found by a comparison instead of an exception, because the exception would hold its input.
"""

from __future__ import annotations

import os
import shlex
import stat
import warnings
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

from mmseg_keyprotect.errors import KeyFileError, LeakedKeyError
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.line import KEY_MARK, make_key_line
from mmseg_keyprotect.temporaries import become_new, temporary_file

MAX_FILE_BYTES = 64 * 1024

AnyPath: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]


def read_key_line(path: AnyPath, *, allow_world_readable: bool = False) -> str:
    """Read a key file and return its one key line, which is not checked yet.

    The line is a secret: pass it only to :meth:`mmseg_keyprotect.keys.SecretKey.from_line`. Arguments and errors are
    those of :meth:`mmseg_keyprotect.keys.SecretKey.load`.
    """
    text = read_secret_text(path, 'key file', mark=KEY_MARK, allow_world_readable=allow_world_readable)
    return only_key_line(text, f'key file {os.fsdecode(path)!r}')


def only_key_line(text: str, name: str) -> str:
    """Return the one line of a text that is neither empty nor a comment.

    Args:
        text: As of a key file.
        name: What holds the text, for error messages.

    Raises:
        KeyFileError: There are none or several.
    """
    lines = [line.removesuffix('\r') for line in text.split('\n')]
    lines = [line for line in lines if line and not line.startswith('#')]
    if len(lines) != 1:
        raise KeyFileError(
            f'{name}: Expected exactly one key line, but got {len(lines) or "no"} lines that '
            'are neither empty nor comments. Comments begin with # in the first column. Use one file for each key.'
        )
    return lines[0]


def read_secret_text(path: AnyPath, what: str, *, mark: str = '', allow_world_readable: bool = False) -> str:
    """Read a small private text file.

    Args:
        path: The file, UTF-8, 1 byte to 64 KiB.
        what: What the file is, for error messages.
        mark: Text that every secret of this kind holds. Of a file without it, who can access it is not checked.
        allow_world_readable: Warn instead of raising if every user of the machine can access the file.

    Raises:
        KeyFileError: The file is missing, unreadable, exposed, empty, too large or not UTF-8.
        LeakedKeyError: ``path`` holds a key instead of a path.
    """
    data, name, mode = _read(path, what)
    text = data.decode('utf-8', 'replace')
    if text.encode() != data:  # compared, because a UnicodeDecodeError would carry the data
        raise KeyFileError(
            f'{name}: Expected UTF-8 text, but got other bytes. This is another kind of file, or a damaged one: check '
            'the path, or restore the file from your backup.'
        )
    if mark in text:  # otherwise the file is no secret, and its mode is not what is wrong
        _check_mode(name, _checked_path(path), mode, allow_world_readable)
    return text


def read_secret_bytes(path: AnyPath, what: str) -> bytes:
    """Read a small private file of 1 byte to 64 KiB.

    The arguments and errors are those of :func:`~mmseg_keyprotect.keys.files.read_secret_text`.
    """
    data, name, mode = _read(path, what)
    _check_mode(name, _checked_path(path), mode, allow_world_readable=False)
    return data


def _read(path: AnyPath, what: str) -> tuple[bytes, str, int]:
    """Return what a small file holds, its name for messages, and its mode."""
    path = _checked_path(path)
    name = f'{what} {path!r}'
    try:
        with open(path, 'rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(
            f'{name}: Expected a file, but it was not found (looked for {os.path.abspath(path)!r}). Check the path.'
        ) from None
    except (OSError, ValueError) as error:  # ValueError: the path holds a null byte
        reason = getattr(error, 'strerror', None) or 'not a usable path'
        raise KeyFileError(
            f'{name}: Expected a readable file, but got: {reason}. Check the path and the owner of the file.'
        ) from None
    if not data:
        raise KeyFileError(f'{name}: Expected text, but the file is empty. Restore it from your backup.')
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(
            f'{name}: Expected at most 64 KiB, but got more. This is another kind of file; check the path.'
        )
    return data, name, mode


def _check_mode(name: str, path: str, mode: int, allow_world_readable: bool) -> None:
    """Refuse a secret that every user of the machine can access, and warn of one that a group can."""
    if os.name == 'posix' and mode & 0o007:
        exposed = (
            f'{name}: Expected a private file, but got mode {stat.S_IMODE(mode):04o}, which every user of this '
            f'machine can access. Run: chmod 600 {shlex.quote(path)}'
        )
        if not allow_world_readable:
            raise KeyFileError(exposed)
        warnings.warn(exposed, stacklevel=6)
    elif os.name == 'posix' and mode & 0o070:
        warnings.warn(
            f'{name}: Expected a private file, but got mode {stat.S_IMODE(mode):04o}, which a group of users '
            f'can access. Run: chmod 600 {shlex.quote(path)}',
            stacklevel=6,
        )


def write_key_file(path: AnyPath, secret: bytes, key_id: str, passphrase: Passphrase = None) -> None:
    """Write a new key file with mode 0600.

    Arguments and errors are those of :meth:`mmseg_keyprotect.keys.SecretKey.save`.
    """
    path = _checked_path(path)
    if os.path.lexists(path):  # refused before a passphrase is asked for; O_EXCL below is the real guard
        raise _exists(path)
    head = (
        '# This is a secret key of mmseg-keyprotect. Keep it private, and keep a backup.',
        f'# key id: {key_id}',
        f'# created: {datetime.now(timezone.utc).date().isoformat()}',
    )
    _create_private(path, '\n'.join((*head, make_key_line(secret, passphrase), '')).encode())


def _checked_path(path: AnyPath) -> str:
    """Return a path as text. Refuse an empty path, and a key in the place of a path."""
    path = os.fsdecode(path)
    if not path:
        raise KeyFileError('Expected the path of a file, but got empty text. Name a file.')
    if KEY_MARK in path:
        raise LeakedKeyError(
            f'Expected the path of a file, but got text that holds {KEY_MARK!r}, as a key line does. Put the key into '
            'a file of its own and give the path. If others could read the key where it was written, make a new one.'
        )
    return path


def _exists(path: str) -> KeyFileError:
    return KeyFileError(
        f'Expected a new path, but {path!r} exists already. A key file is never overwritten: choose another path.'
    )


def _create_private(path: str, data: bytes) -> None:
    """Write a new file with mode 0600, whatever the umask. It appears whole, or not at all."""
    target = Path(path)
    try:
        with temporary_file(target) as temporary:
            os.chmod(temporary, 0o600)  # a umask may have removed the owner's own rights
            with open(temporary, 'wb') as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            become_new(temporary, target)
    except FileExistsError:
        raise _exists(path) from None
    except FileNotFoundError:
        folder = os.path.dirname(os.path.abspath(path))
        raise KeyFileError(
            f'Expected a folder for the key file {path!r}, but the folder {folder!r} does not exist. Make it first.'
        ) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or 'not a usable path'
        raise KeyFileError(
            f'Expected to write the key file {path!r}, but it cannot be written: {reason}. Choose another path.'
        ) from None
