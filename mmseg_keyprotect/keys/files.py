"""The key file (docs/spec.md, section 6): its one key line, plain or sealed, and safe reading and writing.

Use :class:`mmseg_keyprotect.keys.SecretKey`. What passes through here is the secret itself, so no error may carry any
part of it. For that reason some errors are found by comparing and not by catching: the caught one holds its input.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import re
import shlex
import stat
import warnings
from collections.abc import Callable
from datetime import datetime, timezone

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mmseg_keyprotect.errors import KeyFileError, LeakedKeyError

KEY_MARK = 'MMSEG-KEYPROTECT-'
KEY_LINE = re.compile(r'MMSEG-KEYPROTECT-(?:SEALED-)?KEY-\d+\.[A-Za-z0-9_-]{20,}')

SECRET_BYTES = 32
PLAIN_PREFIX = 'MMSEG-KEYPROTECT-KEY-1.'
SEALED_PREFIX = 'MMSEG-KEYPROTECT-SEALED-KEY-1.'
NEWER_PREFIX = re.compile(r'MMSEG-KEYPROTECT-(?:SEALED-)?KEY-(?:[2-9]|[1-9][0-9]+)\.')
MAX_FILE_BYTES = 64 * 1024
MAX_LOG2N = 20
LOG2N = 17

Passphrase = str | Callable[[], str] | None


def parse_key_line(line: str, passphrase: Passphrase = None) -> bytes:
    """Get the 32 secret bytes of a key line. Arguments and errors are those of ``SecretKey.from_line``."""
    if not isinstance(line, str):
        raise KeyFileError(f'expected the key line as str, got {type(line).__name__}.')
    if line.startswith(PLAIN_PREFIX):
        raw = _decode(line.removeprefix(PLAIN_PREFIX), SECRET_BYTES + 4)
        secret, checksum = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
        if not hmac.compare_digest(checksum, _checksum(secret)):
            raise KeyFileError('the key has a wrong checksum: it was damaged or mistyped. Restore it from your backup.')
        return secret
    if line.startswith(SEALED_PREFIX):
        return _unseal(_decode(line.removeprefix(SEALED_PREFIX), 1 + 16 + 12 + SECRET_BYTES + 16), passphrase)
    if NEWER_PREFIX.match(line):
        raise KeyFileError(
            'expected a key of version 1, got one of a newer version. Install a newer version of mmseg-keyprotect.'
        )
    raise KeyFileError(
        f'expected a key line that begins with {PLAIN_PREFIX!r} or {SEALED_PREFIX!r}, got an unknown prefix. Check '
        'that this is a key file, and that nothing stands before the prefix, not even a blank.'
    )


def read_key_line(path: str | os.PathLike, *, allow_world_readable: bool = False) -> str:
    """Read a key file and return its one key line, not yet checked (docs/spec.md, section 6).

    The line is a secret: give it to ``SecretKey.from_line`` and to nothing else. Arguments and errors are those
    of ``SecretKey.load``.
    """
    text = read_secret_text(path, 'key file', allow_world_readable=allow_world_readable)
    lines = [line.removesuffix('\r') for line in text.split('\n')]
    lines = [line for line in lines if line and not line.startswith('#')]
    if len(lines) != 1:
        raise KeyFileError(
            f'key file {os.fsdecode(path)!r}: expected exactly one key line, got {len(lines) or "no"} lines that are '
            'neither empty nor comments. Comments begin with # in the first column. Use one file for one key.'
        )
    return lines[0]


def read_secret_text(path: str | os.PathLike, what: str, *, allow_world_readable: bool = False) -> str:
    """Read a small private text file.

    Args:
        path: The file, UTF-8, 1 byte to 64 KiB.
        what: What the file is, for error messages.
        allow_world_readable: As in ``SecretKey.load``.

    Raises:
        KeyFileError: The file is missing, unreadable, exposed, empty, too large or not UTF-8.
        LeakedKeyError: ``path`` holds a key and not a path.
    """
    path = _checked_path(path)
    name = f'{what} {path!r}'
    try:
        with open(path, 'rb') as file:
            mode = os.fstat(file.fileno()).st_mode
            if os.name == 'posix' and mode & 0o007:
                exposed = (
                    f'{name}: expected a private file, got mode {stat.S_IMODE(mode):04o}, which every user of this '
                    f'machine can access. Run: chmod 600 {shlex.quote(path)}'
                )
                if not allow_world_readable:
                    raise KeyFileError(exposed)
                warnings.warn(exposed, stacklevel=4)
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise KeyFileError(f'{name}: not found (looked for {os.path.abspath(path)!r}). Check the path.') from None
    except (OSError, ValueError) as error:  # ValueError: the path holds a null byte
        reason = getattr(error, 'strerror', None) or 'not a usable path'
        raise KeyFileError(f'{name}: expected a readable file, got: {reason}. Check the path and its owner.') from None
    if not data:
        raise KeyFileError(f'{name}: the file is empty. Restore it from your backup.')
    if len(data) > MAX_FILE_BYTES:
        raise KeyFileError(f'{name}: expected at most 64 KiB, got more. This is another kind of file; check the path.')
    text = data.decode('utf-8', 'replace')
    if text.encode() != data:  # not by catching the error: a UnicodeDecodeError carries the data
        raise KeyFileError(f'{name}: expected UTF-8 text, got other bytes. Restore the file from your backup.')
    return text


def _checked_path(path: str | os.PathLike) -> str:
    """Get a path as text, and refuse an empty one and a key in its place."""
    path = os.fsdecode(path)
    if not path:
        raise KeyFileError('Expected the path of a file, got empty text. Name a file.')
    if KEY_MARK in path:
        raise LeakedKeyError(
            f'Expected the path of a file, got text that holds {KEY_MARK!r}, as a key line does. Put the key into a '
            'file of its own and give the path. If the key was written where others can read it, make a new one.'
        )
    return path


def write_key_file(path: str | os.PathLike, secret: bytes, key_id: str, passphrase: Passphrase = None) -> None:
    """Write a new key file with mode 0600. Arguments and errors are those of ``SecretKey.save``."""
    path = _checked_path(path)
    if os.path.lexists(path):  # said before a passphrase is asked for; what guards is O_EXCL below
        raise _exists(path)
    if passphrase is None:
        line = PLAIN_PREFIX + _encode(secret + _checksum(secret))
    else:
        line = SEALED_PREFIX + _seal(secret, passphrase)
    head = (
        '# This is a secret key of mmseg-keyprotect. Keep it private, and keep a backup.',
        f'# key id: {key_id}',
        f'# created: {datetime.now(timezone.utc).date().isoformat()}',
    )
    _create_private(path, '\n'.join((*head, line, '')).encode())


def _exists(path: str) -> KeyFileError:
    """Get the error for a path that is taken."""
    return KeyFileError(f'{path!r} exists already. A key file is never overwritten: choose another path.')


def _create_private(path: str, data: bytes) -> None:
    """Write a new file with mode 0600, whatever the umask. Nothing is left of it if that fails."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_BINARY', 0)
    created = False
    try:
        with os.fdopen(os.open(path, flags, 0o600), 'wb') as file:
            created = True
            if hasattr(os, 'fchmod'):
                os.fchmod(file.fileno(), 0o600)  # a umask may have taken the owner's own rights
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        if created:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if isinstance(error, FileExistsError):
            raise _exists(path) from None
        if isinstance(error, FileNotFoundError):
            folder = os.path.dirname(os.path.abspath(path))
            raise KeyFileError(f'{path!r}: the folder {folder!r} does not exist. Make it first.') from None
        if isinstance(error, OSError | ValueError):
            reason = getattr(error, 'strerror', None) or 'not a usable path'
            raise KeyFileError(f'{path!r}: the key file cannot be written: {reason}.') from None
        raise


def _checksum(secret: bytes) -> bytes:
    """Get the checksum of a plain key: the first 4 bytes of its SHA-256."""
    return hashlib.sha256(secret).digest()[:4]


def _encode(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip('=')


def _decode(text: str, size: int) -> bytes:
    """Decode base64url without padding, and refuse all but the one right way to write ``size`` bytes."""
    if not re.fullmatch('[A-Za-z0-9_-]*', text):
        raise KeyFileError(
            'the key is not canonical base64: expected only A-Z a-z 0-9 - _ after the prefix, got other characters, '
            'such as blanks, = or a line end. Take them out, or restore the file from your backup.'
        )
    length = -(-size * 4 // 3)
    if len(text) != length:
        raise KeyFileError(
            f'the key has a wrong length: expected {length} characters after the prefix, got {len(text)}. '
            'Restore it from your backup.'
        )
    data = base64.urlsafe_b64decode(text + '=' * (-length % 4))
    if _encode(data) != text:
        raise KeyFileError('the key is not canonical base64: its last character is wrong. Restore it from your backup.')
    return data


def passphrase_bytes(passphrase: Passphrase) -> bytes:
    """Get the passphrase, by calling for it if need be, in UTF-8 as it was given."""
    if callable(passphrase):
        passphrase = passphrase()
    if not isinstance(passphrase, str):
        raise KeyFileError(f'expected a passphrase of type str, got {type(passphrase).__name__}.')
    if not passphrase:
        raise KeyFileError('the passphrase is empty. Give one that is hard to guess.')
    data = passphrase.encode('utf-8', 'replace')
    if data.decode() != passphrase:  # not by catching the error: a UnicodeEncodeError carries the passphrase
        raise KeyFileError('the passphrase is not valid Unicode text. Check the encoding of your terminal or file.')
    return data


def _seal(secret: bytes, passphrase: Passphrase) -> str:
    """Encrypt the secret with a passphrase: the body of a sealed key line."""
    head, nonce = bytes([LOG2N]) + os.urandom(16), os.urandom(12)
    aes = _passphrase_cipher(passphrase, head)
    return _encode(head + nonce + aes.encrypt(nonce, secret, SEALED_PREFIX.encode()))


def _unseal(raw: bytes, passphrase: Passphrase) -> bytes:
    """Decrypt the body of a sealed key line. The work factor is checked before any work."""
    head, nonce, box = raw[:17], raw[17:29], raw[29:]
    if not 1 <= head[0] <= MAX_LOG2N:
        raise KeyFileError(
            f'expected a scrypt work factor (log2N) of 1 to {MAX_LOG2N}, got {head[0]}. '
            'The file was damaged or made to exhaust this machine. Restore it from your backup.'
        )
    if passphrase is None:
        raise KeyFileError('the key is sealed and needs a passphrase, got none. Give its passphrase.')
    aes = _passphrase_cipher(passphrase, head)
    try:
        return aes.decrypt(nonce, box, SEALED_PREFIX.encode())
    except InvalidTag:
        raise KeyFileError('wrong passphrase, or the sealed key is damaged. Check the passphrase.') from None


def _passphrase_cipher(passphrase: Passphrase, head: bytes) -> AESGCM:
    """Get the AES key of a passphrase by scrypt. ``head`` is log2N (1 byte) and the salt (16 bytes)."""
    data = passphrase_bytes(passphrase)
    try:
        return AESGCM(Scrypt(salt=head[1:], length=32, n=2 ** head[0], r=8, p=1).derive(data))
    except MemoryError:
        need = 2 ** head[0] // 1024
        raise KeyFileError(f'not enough memory: scrypt needs {need} MiB for this key. Free some memory.') from None
