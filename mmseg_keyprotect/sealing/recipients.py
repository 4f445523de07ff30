"""The recipients of a sealed file: its file key, wrapped for each of them (docs/spec.md, section 9)."""

from __future__ import annotations

import os
import re
import warnings
from abc import ABC, abstractmethod
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mmseg_keyprotect.errors import KeyFileError, SealedFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import (
    LOG2N,
    MAX_LOG2N,
    SEALED_FILE,
    SEALED_FILE_X25519,
    EncodingError,
    Passphrase,
    decode,
    encode,
    hkdf,
    passphrase_bytes,
    scrypt,
)
from mmseg_keyprotect.keys.frames import without_locals

PUBLIC_PREFIX = 'MMSEG-KEYPROTECT-RECIPIENT-2.'
OLD_PREFIX = 'MMSEG-KEYPROTECT-RECIPIENT-1.'
"""Of the version without a checksum, in which nearly every mistyped character gave another recipient."""

_CHECKSUM = 4
_FIELDS = {
    'key': {'key_id', 'nonce', 'wrapped'},
    'x25519': {'name', 'ephemeral', 'nonce', 'wrapped'},
    'passphrase': {'log2n', 'salt', 'nonce', 'wrapped'},
}
_SIZES = {'nonce': 12, 'wrapped': 48, 'ephemeral': 32, 'salt': 16}

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


class KeyRecipient(Recipient):
    """A holder of the secret key itself.

    Args:
        key: The key.

    Example:
        >>> KeyRecipient(SecretKey.from_bytes(bytes(32))).wrap(bytes(32))['key_id']
        '70a28782cc93edea'
    """

    def __init__(self, key: SecretKey) -> None:
        self.key = key

    def wrap(self, file_key: bytes) -> Entry:
        """Wrap the file key under a key that is derived from the secret key."""
        return dict(type='key', key_id=self.key.key_id, **_wrap(self.key.derive(SEALED_FILE, 32), file_key, 'key'))


class PublicRecipient(Recipient):
    """A holder of the secret key that belongs to a public text; see :func:`mmseg_keyprotect.sealing.recipient_of`.

    Args:
        text: ``MMSEG-KEYPROTECT-RECIPIENT-2.`` and 48 characters. It is not secret. A text of version 1 has no
            checksum, and gives a warning.

    Raises:
        KeyFileError: The text has another form, or a mistyped character.

    Example:
        >>> PublicRecipient(recipient_of(SecretKey.from_bytes(bytes(32)))).name
        'ce0f8a527110fa72'
    """

    def __init__(self, text: str) -> None:
        self.public = _parse_public(text.strip())
        self.name = name_of(self.public)

    def wrap(self, file_key: bytes) -> Entry:
        """Wrap the file key under a secret shared with the recipient: X25519 with a fresh key, HKDF, AES-GCM.

        Raises:
            SealedFileError: The public key of the recipient is a point of small order.
        """
        mine = X25519PrivateKey.generate()
        ephemeral = mine.public_key().public_bytes_raw()
        shared = _exchange(mine, self.public)
        box = _wrap(_shared_key(shared, ephemeral, self.public), file_key, 'x25519')
        return dict(type='x25519', name=self.name, ephemeral=encode(ephemeral), **box)


class PassphraseRecipient(Recipient):
    """A person who knows a passphrase.

    Args:
        passphrase: Text that is not empty, or a function without arguments that returns it.

    Raises:
        KeyFileError: The passphrase is empty or not text.

    Example:
        >>> PassphraseRecipient('correct horse').wrap(bytes(32))['log2n']
        17
    """

    @without_locals
    def __init__(self, passphrase: Passphrase) -> None:
        self.passphrase = passphrase_bytes(passphrase)

    def wrap(self, file_key: bytes) -> Entry:
        """Wrap the file key under a key that scrypt derives from the passphrase."""
        salt = os.urandom(16)
        box = _wrap(scrypt(self.passphrase, salt, LOG2N), file_key, 'passphrase')
        return dict(type='passphrase', log2n=LOG2N, salt=encode(salt), **box)


def recipient_of(key: SecretKey) -> str:
    """Return the public side of a key, for which others can seal files.

    Returns:
        ``MMSEG-KEYPROTECT-RECIPIENT-2.`` and the base64url of the X25519 public key and its checksum.

    Example:
        >>> recipient_of(SecretKey.from_bytes(bytes(32)))
        'MMSEG-KEYPROTECT-RECIPIENT-2.7QfXlIi2MI0HNTelxJldMmojMyFvhzFKs58i03QDr2wHNFVy'
    """
    public = _private(key).public_key().public_bytes_raw()
    return PUBLIC_PREFIX + encode(public + _checksum(public))


def name_of(public: bytes) -> str:
    """Return the short name of a recipient: the first 16 hex characters of the SHA-256 of the public key."""
    return sha256(public).hexdigest()[:16]


def unwrap(entry: Entry, key: SecretKey | None, passphrase: Passphrase) -> bytes | None:
    """Return the file key of one entry, or None where the entry is not for this key or passphrase.

    Args:
        entry: A recipient that :func:`~mmseg_keyprotect.sealing.recipients.check_entry` has accepted.
        key: The secret key, if any.
        passphrase: The passphrase, if any.
    """
    kind = entry['type']
    if kind == 'key' and key is not None and entry['key_id'] == key.key_id:
        return _unwrap(key.derive(SEALED_FILE, 32), entry)
    if kind == 'x25519' and key is not None:
        mine = _private(key)
        public = mine.public_key().public_bytes_raw()
        if entry['name'] == name_of(public):
            ephemeral = decode(entry['ephemeral'], 32)
            return _unwrap(_shared_key(_exchange(mine, ephemeral), ephemeral, public), entry)
    if kind == 'passphrase' and passphrase is not None:
        return _unwrap(scrypt(passphrase_bytes(passphrase), decode(entry['salt'], 16), entry['log2n']), entry)
    return None


def check_entry(entry: Any) -> None:
    """Check that an entry of a header is of a known type, with its fields and no others.

    Args:
        entry: Parsed JSON, which may be hostile.

    Raises:
        SealedFileError: It is not.
    """
    kind = entry.get('type') if isinstance(entry, dict) else None
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or set(entry) != fields | {'type'}:
        raise SealedFileError(
            f'Expected a recipient of one of the types {sorted(_FIELDS)} with its fields, but the header holds '
            'another. Use another copy of the file, or a newer mmseg-keyprotect.'
        )
    for name in fields & _SIZES.keys():
        header_bytes(entry[name], _SIZES[name])
    for name in fields & {'key_id', 'name'}:
        if not isinstance(entry[name], str) or not re.fullmatch('[0-9a-f]{16}', entry[name]):
            raise SealedFileError(
                f'Expected `{name}` of a recipient as 16 hex characters, but got something else. Use another copy of '
                'the file.'
            )
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


def _parse_public(text: str) -> bytes:
    """Return the public key of a recipient's text."""
    if text.startswith(OLD_PREFIX):
        warnings.warn(
            'This recipient is of version 1, without a checksum: a mistyped character is not noticed. Ask for what '
            '`keyprotect keygen --show-recipient KEY_FILE` of a newer version prints.',
            stacklevel=4,
        )
    size = 32 if text.startswith(OLD_PREFIX) else 32 + _CHECKSUM
    try:
        raw = decode(text[len(PUBLIC_PREFIX) :], size) if text.startswith((OLD_PREFIX, PUBLIC_PREFIX)) else b''
    except EncodingError:
        raw = b''
    if not raw:
        raise KeyFileError(
            f'Expected a recipient, {PUBLIC_PREFIX!r} and 48 characters, but got something else. Ask for what '
            '`keyprotect keygen --show-recipient KEY_FILE` prints.'
        )
    public, checksum = raw[:32], raw[32:]
    if checksum not in (b'', _checksum(public)):
        raise KeyFileError('Expected a recipient with its checksum, but a character is mistyped. Ask for it again.')
    return public


def _checksum(public: bytes) -> bytes:
    """Return the first 4 bytes of the SHA-256 of the prefix and the public key."""
    return sha256(PUBLIC_PREFIX.encode() + public).digest()[:_CHECKSUM]


def _private(key: SecretKey) -> X25519PrivateKey:
    """Return the X25519 private key of a secret key."""
    return X25519PrivateKey.from_private_bytes(key.derive(SEALED_FILE_X25519, 32))


def _exchange(mine: X25519PrivateKey, public: bytes) -> bytes:
    """Return the X25519 shared secret, and refuse points of small order."""
    try:
        return mine.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise SealedFileError('Expected an X25519 public key, but got a point of small order. Do not use it.') from None


def _shared_key(shared: bytes, ephemeral: bytes, public: bytes) -> bytes:
    """Return the wrapping key of a shared secret, bound to both public keys."""
    return hkdf(shared, SEALED_FILE_X25519.encode() + ephemeral + public)


def _wrap(key: bytes, file_key: bytes, kind: str) -> dict[str, str]:
    """Encrypt a file key under a wrapping key."""
    nonce = os.urandom(12)
    return dict(nonce=encode(nonce), wrapped=encode(AESGCM(key).encrypt(nonce, file_key, kind.encode())))


def _unwrap(key: bytes, entry: Entry) -> bytes | None:
    """Decrypt a file key; None where it was encrypted under another wrapping key."""
    try:
        return AESGCM(key).decrypt(decode(entry['nonce'], 12), decode(entry['wrapped'], 48), entry['type'].encode())
    except InvalidTag:
        return None
