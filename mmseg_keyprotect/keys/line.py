"""The key line, the one line of a key file that holds the key, plain or sealed (docs/spec.md, section 6).

Use :class:`mmseg_keyprotect.keys.SecretKey`. The functions here handle the secret itself, so no error may carry any
part of it.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys.encoding import (
    LOG2N,
    MAX_LOG2N,
    EncodingError,
    Passphrase,
    decode,
    encode,
    passphrase_bytes,
    scrypt,
)

KEY_MARK = 'MMSEG-KEYPROTECT-'
"""The beginning of every key line of every version."""

KEY_LINE = re.compile(r'MMSEG-KEYPROTECT-(?:SEALED-)?KEY-\d+\.[A-Za-z0-9_-]{20,}')
"""Finds a key line in any text, to detect leaked keys."""

SECRET_BYTES = 32
PLAIN_PREFIX = 'MMSEG-KEYPROTECT-KEY-1.'
SEALED_PREFIX = 'MMSEG-KEYPROTECT-SEALED-KEY-1.'
NEWER_PREFIX = re.compile(r'MMSEG-KEYPROTECT-(?:SEALED-)?KEY-(?:[2-9]|[1-9][0-9]+)\.')

_CHECKSUM, _SALT, _NONCE, _TAG = 4, 16, 12, 16


def parse_key_line(line: str, passphrase: Passphrase = None) -> bytes:
    """Return the 32 secret bytes of a key line.

    Arguments and errors are those of :meth:`mmseg_keyprotect.keys.SecretKey.from_line`.
    """
    if not isinstance(line, str):
        raise KeyFileError(f'Expected the key line as str, but got {type(line).__name__}. Give text.')
    if line.startswith(PLAIN_PREFIX):
        raw = _decode(line.removeprefix(PLAIN_PREFIX), SECRET_BYTES + _CHECKSUM)
        secret, checksum = raw[:SECRET_BYTES], raw[SECRET_BYTES:]
        if not hmac.compare_digest(checksum, _checksum(secret)):
            raise KeyFileError(
                'Expected an undamaged key, but it has a wrong checksum: it was damaged or mistyped. Restore it from '
                'your backup.'
            )
        return secret
    if line.startswith(SEALED_PREFIX):
        size = 1 + _SALT + _NONCE + SECRET_BYTES + _TAG
        return _unseal(_decode(line.removeprefix(SEALED_PREFIX), size), passphrase)
    if NEWER_PREFIX.match(line):
        raise KeyFileError(
            'Expected a key of version 1, but got one of a newer version. Install a newer version of mmseg-keyprotect.'
        )
    raise KeyFileError(
        f'Expected a key line that begins with {PLAIN_PREFIX!r} or {SEALED_PREFIX!r}, but got an unknown prefix. Check '
        'that this is a key file and that nothing precedes the prefix, not even a blank.'
    )


def make_key_line(secret: bytes, passphrase: Passphrase = None) -> str:
    """Return the key line of a secret: plain, or sealed where there is a passphrase.

    Raises:
        KeyFileError: The passphrase is empty or not text.
    """
    if passphrase is None:
        return PLAIN_PREFIX + encode(secret + _checksum(secret))
    salt, nonce = os.urandom(_SALT), os.urandom(_NONCE)
    box = AESGCM(scrypt(passphrase_bytes(passphrase), salt, LOG2N)).encrypt(nonce, secret, SEALED_PREFIX.encode())
    return SEALED_PREFIX + encode(bytes([LOG2N]) + salt + nonce + box)


def _decode(text: str, size: int) -> bytes:
    """Decode the part of a key line after its prefix."""
    try:
        return decode(text, size)
    except EncodingError as error:
        raise KeyFileError(
            f'Expected the base64url of {size} bytes after the prefix, but the key {error}. Remove what does not '
            'belong there, or restore the file from your backup.'
        ) from None


def _checksum(secret: bytes) -> bytes:
    """Return the checksum of a plain key: the first 4 bytes of its SHA-256."""
    return hashlib.sha256(secret).digest()[:_CHECKSUM]


def _unseal(raw: bytes, passphrase: Passphrase) -> bytes:
    """Decrypt the body of a sealed key line. The work factor is checked before any work is done."""
    log2n, rest = raw[0], raw[1:]
    salt, nonce, box = rest[:_SALT], rest[_SALT : _SALT + _NONCE], rest[_SALT + _NONCE :]
    if not 1 <= log2n <= MAX_LOG2N:
        raise KeyFileError(
            f'Expected a scrypt work factor (log2N) of 1 to {MAX_LOG2N}, but got {log2n}. '
            'The file was damaged or made to exhaust this machine. Restore it from your backup.'
        )
    if passphrase is None:
        raise KeyFileError('Expected a passphrase, because the key is sealed, but got none. Give its passphrase.')
    aes = AESGCM(scrypt(passphrase_bytes(passphrase), salt, log2n))
    try:
        return aes.decrypt(nonce, box, SEALED_PREFIX.encode())
    except InvalidTag:
        raise KeyFileError(
            'Expected the passphrase of this key, but got a wrong passphrase, or the sealed key is damaged. Check the '
            'passphrase.'
        ) from None
