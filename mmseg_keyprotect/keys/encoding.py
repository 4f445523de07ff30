"""Base64url, passphrases, scrypt and HKDF for key files and sealed files (docs/spec.md, sections 2, 6 and 9).

This module lists the labels that separate the derived keys, so that no two uses can share one. The labels of
the ciphers carry parameters, such as ``shuffle/M=4/C=3``; each cipher composes its own.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import TypeAlias

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mmseg_keyprotect.errors import KeyFileError

SALT = b'mmseg-keyprotect/1'
"""The HKDF salt of everything that is derived from a secret or a file key."""

KEY_ID = 'key-id'
SEALED_FILE = 'sealed-file'
SEALED_FILE_X25519 = 'sealed-file-x25519'
SEALED_FILE_P256 = 'sealed-file-p256'
SEALED_FILE_ED25519 = 'sealed-file-ed25519'
SEALED_HEADER = 'sealed-header'
SEALED_PAYLOAD = 'sealed-payload'

LOG2N = 17
"""The scrypt work factor that is written: 2**17, which needs 128 MiB."""

MAX_LOG2N = 20
"""The largest scrypt work factor that is read: 2**20, which needs 1 GiB."""

Passphrase: TypeAlias = str | Callable[[], str] | None
"""A passphrase, a function without arguments that returns it, or None."""


class EncodingError(ValueError):
    """Text is not the canonical base64url of the expected size. The message never contains the text."""


def encode(data: bytes) -> str:
    """Encode bytes as base64url without padding.

    Example:
        >>> encode(b'key')
        'a2V5'
    """
    return urlsafe_b64encode(data).decode().rstrip('=')


def encoded_length(size: int) -> int:
    """Return how many characters :func:`~mmseg_keyprotect.keys.encoding.encode` makes of ``size`` bytes."""
    return -(-size * 4 // 3)


def decode(text: str, size: int) -> bytes:
    """Decode base64url without padding, and accept only the canonical encoding of exactly ``size`` bytes.

    Raises:
        EncodingError: The text has other characters or another length, or its unused last bits are not zero.

    Example:
        >>> decode('a2V5', 3)
        b'key'
    """
    if not re.fullmatch('[A-Za-z0-9_-]*', text):
        raise EncodingError(
            'is not canonical base64: expected only A-Z a-z 0-9 - _, but got other characters, such as blanks, = or a '
            'line end'
        )
    length = encoded_length(size)
    if len(text) != length:
        raise EncodingError(f'has a wrong length: expected {length} characters, but got {len(text)}')
    data = urlsafe_b64decode(text + '=' * (-length % 4))
    if encode(data) != text:
        raise EncodingError('is not canonical base64: its last character is wrong')
    return data


def hkdf(secret: bytes, info: str | bytes, length: int = 32, salt: bytes = SALT) -> bytes:
    """Derive a key with HKDF-SHA256 (RFC 5869).

    Args:
        secret: Input key material.
        info: What the derived key is for, one of the labels of this module or a label of a cipher.
        length: 1 to 8160 bytes.
        salt: Public. Defaults to the salt of the specification.

    Example:
        >>> hkdf(bytes(32), 'key-id', 8).hex()
        '70a28782cc93edea'
    """
    return HKDF(SHA256(), length, salt, info.encode() if isinstance(info, str) else info).derive(secret)


def passphrase_bytes(passphrase: Passphrase) -> bytes:
    """Return a passphrase as UTF-8 bytes, exactly as it was given. A function is called for it.

    Raises:
        KeyFileError: The passphrase is not text, is empty, or is not valid Unicode.

    Example:
        >>> passphrase_bytes(lambda: 'correct horse')
        b'correct horse'
    """
    if callable(passphrase):
        passphrase = passphrase()
    if not isinstance(passphrase, str):
        raise KeyFileError(f'Expected a passphrase of type str, but got {type(passphrase).__name__}. Give text.')
    if not passphrase:
        raise KeyFileError('Expected a passphrase, but the passphrase is empty. Choose one that is hard to guess.')
    data = passphrase.encode('utf-8', 'replace')
    if data.decode() != passphrase:  # compared, because a UnicodeEncodeError would carry the passphrase
        raise KeyFileError(
            'Expected a passphrase, but got text that is not valid Unicode. Check the encoding of your terminal or of '
            'the file.'
        )
    return data


def scrypt(passphrase: bytes, salt: bytes, log2n: int) -> bytes:
    """Derive 32 bytes from a passphrase with scrypt (RFC 7914), r = 8 and p = 1.

    Args:
        passphrase: As from :func:`~mmseg_keyprotect.keys.encoding.passphrase_bytes`.
        salt: 16 random bytes.
        log2n: The work factor, 1 to 20. It needs ``2**log2n`` KiB of memory.

    Raises:
        KeyFileError: The machine does not have enough memory.

    Example:
        >>> len(scrypt(b'correct horse', bytes(16), log2n=1))
        32
    """
    try:
        return Scrypt(salt=salt, length=32, n=2**log2n, r=8, p=1).derive(passphrase)
    except MemoryError:
        raise KeyFileError(
            f'Expected enough memory for the passphrase, but scrypt needs {2**log2n // 1024} MiB. Free some memory.'
        ) from None
