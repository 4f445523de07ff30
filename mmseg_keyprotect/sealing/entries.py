"""The entries of recipients in the header of a sealed file (docs/spec.md, section 9)."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.errors import SealedFileError
from mmseg_keyprotect.keys.encoding import MAX_LOG2N, EncodingError, decode, encode

FIELDS = {
    'key': {'key_id': 0, 'nonce': 12, 'wrapped': 48},
    'x25519': {'name': 0, 'ephemeral': 32, 'nonce': 12, 'wrapped': 48},
    'p256': {'name': 0, 'ephemeral': 65, 'nonce': 12, 'wrapped': 48},
    'age': {'name': 0, 'file': 0},
    'passphrase': {'log2n': 0, 'salt': 16, 'nonce': 12, 'wrapped': 48},
}
"""The types of recipients, in the order in which a reader tries them: their fields, with the bytes that each holds in
base64url; 0 where it holds something else."""

MAX_AGE_FILE = 1 << 14
"""Characters of the age file of one recipient."""

FILE_KEY = 32
"""Bytes of the key of a file."""

Entry = dict[str, Any]
"""A recipient as the header of a sealed file describes it."""


class Recipient(ABC):
    """A person or key that can open a sealed file."""

    @abstractmethod
    def wrap(self, file_key: bytes) -> Entry:
        """Return an entry of the header that holds the file key, encrypted for this recipient.

        Args:
            file_key: 32 bytes.
        """


class Opener(ABC):
    """What opens sealed files in the place of a secret key; its text names it in messages."""

    @abstractmethod
    def unwrap(self, entry: Entry) -> bytes | None:
        """Return the file key of one entry of a header, or None where it is for somebody else.

        Args:
            entry: A recipient that :func:`~mmseg_keyprotect.sealing.entries.check_entry` has accepted.
        """


def check_entry(entry: Any) -> None:
    """Check that an entry of a header is of a known type, with its fields and no others.

    Args:
        entry: Parsed JSON, which may be hostile.

    Raises:
        SealedFileError: It is not.
    """
    kind = entry.get('type') if isinstance(entry, dict) else None
    fields = FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or set(entry) != {*fields, 'type'}:
        raise SealedFileError(
            f'Expected a recipient of one of the types {sorted(FIELDS)} with its fields, but the header holds '
            'another. Use another copy of the file, or a newer mmseg-keyprotect.'
        )
    for name, size in fields.items():
        if size:
            header_bytes(entry[name], size)
    for name in fields.keys() & {'key_id', 'name'}:
        if not isinstance(entry[name], str) or not re.fullmatch('[0-9a-f]{16}', entry[name]):
            raise SealedFileError(
                f'Expected `{name}` of a recipient as 16 hex characters, but got something else. Use another copy of '
                'the file.'
            )
    if 'file' in fields:
        header_bytes(entry['file'], max(1, len(str(entry['file'])[:MAX_AGE_FILE]) * 3 // 4))
    if 'log2n' in fields and not (type(entry['log2n']) is int and 1 <= entry['log2n'] <= MAX_LOG2N):
        raise SealedFileError(
            f'Expected a scrypt work factor (log2n) of 1 to {MAX_LOG2N}, but the header holds another: the file was '
            'damaged, or made to exhaust this machine. Use another copy of the file.'
        )


def header_bytes(text: Any, size: int) -> bytes:
    """Decode the canonical base64url of ``size`` bytes in a header, which may be hostile.

    Raises:
        SealedFileError: The header holds something else.
    """
    try:
        return decode(text if isinstance(text, str) else '', size)
    except EncodingError:
        raise SealedFileError(
            f'Expected {size} bytes in base64url in the header, but got something else: it is damaged. Use another '
            'copy of the file.'
        ) from None


def wrap(key: bytes, file_key: bytes, kind: str) -> dict[str, str]:
    """Encrypt a file key under a wrapping key."""
    nonce = os.urandom(12)
    return dict(nonce=encode(nonce), wrapped=encode(AESGCM(key).encrypt(nonce, file_key, kind.encode())))


def unbox(key: bytes, entry: Entry) -> bytes | None:
    """Decrypt a file key; None where it was encrypted under another wrapping key."""
    try:
        return AESGCM(key).decrypt(decode(entry['nonce'], 12), decode(entry['wrapped'], 48), entry['type'].encode())
    except InvalidTag:
        return None
