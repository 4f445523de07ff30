"""Who can open a sealed file: the file key, wrapped for each of them (docs/spec.md, section 9)."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mmseg_keyprotect.errors import KeyFileError, SealedFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.files import LOG2N, MAX_LOG2N, Passphrase, passphrase_bytes

SALT = b'mmseg-keyprotect/1'
PUBLIC_PREFIX = 'MMSEG-KEYPROTECT-RECIPIENT-1.'
_FIELDS = {
    'key': {'key_id', 'nonce', 'wrapped'},
    'x25519': {'name', 'ephemeral', 'nonce', 'wrapped'},
    'passphrase': {'log2n', 'salt', 'nonce', 'wrapped'},
}
_SIZES = {'nonce': 12, 'wrapped': 48, 'ephemeral': 32, 'salt': 16}


class Recipient(ABC):
    """Somebody who shall be able to open a sealed file."""

    @abstractmethod
    def wrap(self, file_key: bytes) -> dict[str, Any]:
        """Return the file key, wrapped, as an entry of the header."""


class KeyRecipient(Recipient):
    """Whoever has the secret key itself.

    Args:
        key: The key.
    """

    def __init__(self, key: SecretKey) -> None:
        self.key = key

    def wrap(self, file_key: bytes) -> dict[str, Any]:
        """Wrap the file key under a key that is derived from the secret key."""
        return dict(type='key', key_id=self.key.key_id, **_wrap(self.key.derive('sealed-file', 32), file_key, 'key'))


class PublicRecipient(Recipient):
    """Whoever has the secret key of which this is the public side: :func:`recipient_of`.

    Args:
        text: ``MMSEG-KEYPROTECT-RECIPIENT-1.`` and 43 characters; no secret.

    Raises:
        KeyFileError: It is not of that form.
    """

    def __init__(self, text: str) -> None:
        match = re.fullmatch(re.escape(PUBLIC_PREFIX) + '([A-Za-z0-9_-]{43})', text.strip())
        if match is None:
            raise KeyFileError(
                f'Expected a recipient, {PUBLIC_PREFIX!r} and 43 characters, but got something else. Ask for what '
                '`python tools/keygen.py --show-recipient KEY_FILE` prints.'
            )
        try:
            self.public = decode(match[1], 32)
        except SealedFileError:
            raise KeyFileError('Expected a recipient, but its last character is wrong. Ask for it again.') from None
        self.name = name_of(self.public)

    def wrap(self, file_key: bytes) -> dict[str, Any]:
        """Wrap the file key under a secret shared with the recipient: X25519 with a fresh key, HKDF, AES-GCM."""
        mine = X25519PrivateKey.generate()
        ephemeral = mine.public_key().public_bytes_raw()
        shared = _exchange(mine, self.public)
        box = _wrap(_shared_key(shared, ephemeral, self.public), file_key, 'x25519')
        return dict(type='x25519', name=self.name, ephemeral=encode(ephemeral), **box)


class PassphraseRecipient(Recipient):
    """Whoever knows a passphrase.

    Args:
        passphrase: Not empty, or a function that returns it.
    """

    def __init__(self, passphrase: Passphrase) -> None:
        self.passphrase = passphrase_bytes(passphrase)

    def wrap(self, file_key: bytes) -> dict[str, Any]:
        """Wrap the file key under a key that scrypt makes of the passphrase."""
        salt = os.urandom(16)
        box = _wrap(_scrypt(self.passphrase, salt, LOG2N), file_key, 'passphrase')
        return dict(type='passphrase', log2n=LOG2N, salt=encode(salt), **box)


def recipient_of(key: SecretKey) -> str:
    """Return the public side of a key, which others seal files for: ``MMSEG-KEYPROTECT-RECIPIENT-1.…``."""
    return PUBLIC_PREFIX + encode(_private(key).public_key().public_bytes_raw())


def name_of(public: bytes) -> str:
    """Return the short name of a recipient: the first 16 hex characters of the SHA-256 of the public key."""
    from hashlib import sha256

    return sha256(public).hexdigest()[:16]


def unwrap(entry: dict[str, Any], key: SecretKey | None, passphrase: Passphrase) -> bytes | None:
    """Return the file key of one entry, or None where it is not for this key or passphrase."""
    kind = entry['type']
    if kind == 'key' and key is not None and entry['key_id'] == key.key_id:
        return _unwrap(key.derive('sealed-file', 32), entry)
    if kind == 'x25519' and key is not None:
        mine = _private(key)
        public = mine.public_key().public_bytes_raw()
        if entry['name'] == name_of(public):
            ephemeral = decode(entry['ephemeral'], 32)
            return _unwrap(_shared_key(_exchange(mine, ephemeral), ephemeral, public), entry)
    if kind == 'passphrase' and passphrase is not None:
        return _unwrap(_scrypt(passphrase_bytes(passphrase), decode(entry['salt'], 16), entry['log2n']), entry)
    return None


def check_entry(entry: Any) -> None:
    """Raise SealedFileError unless this is an entry of a known type, with its fields and no others."""
    kind = entry.get('type') if isinstance(entry, dict) else None
    fields = _FIELDS.get(kind) if isinstance(kind, str) else None
    if fields is None or set(entry) != fields | {'type'}:
        raise SealedFileError(
            f'Expected a recipient of a type out of {sorted(_FIELDS)} with its fields, but the header holds another. '
            'Use another copy of the file, or a newer mmseg-keyprotect.'
        )
    for name in fields & _SIZES.keys():
        decode(entry[name], _SIZES[name])
    for name in fields & {'key_id', 'name'}:
        if not isinstance(entry[name], str) or not re.fullmatch('[0-9a-f]{16}', entry[name]):
            raise SealedFileError(f'Expected `{name}` of a recipient as 16 hex characters, but got something else.')
    if 'log2n' in fields and not (type(entry['log2n']) is int and 1 <= entry['log2n'] <= MAX_LOG2N):
        raise SealedFileError(
            f'Expected a scrypt work factor (log2n) of 1 to {MAX_LOG2N}, but the header holds another: the file was '
            'damaged, or made to exhaust this machine.'
        )


def encode(data: bytes) -> str:
    """Encode as base64url without padding."""
    return urlsafe_b64encode(data).decode().rstrip('=')


def decode(text: Any, size: int) -> bytes:
    """Decode the one right way to write ``size`` bytes in base64url without padding.

    Raises:
        SealedFileError: It is something else.
    """
    length = -(-size * 4 // 3)
    if isinstance(text, str) and re.fullmatch(f'[A-Za-z0-9_-]{{{length}}}', text):
        data = urlsafe_b64decode(text + '=' * (-length % 4))
        if encode(data) == text:
            return data
    raise SealedFileError(f'Expected {size} bytes in base64url in the header, but got something else: it is damaged.')


def _private(key: SecretKey) -> X25519PrivateKey:
    """Return the X25519 private key of a secret key."""
    return X25519PrivateKey.from_private_bytes(key.derive('sealed-file-x25519', 32))


def _exchange(mine: X25519PrivateKey, public: bytes) -> bytes:
    """Return the X25519 shared secret; refuse points of small order."""
    try:
        return mine.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:  # a point of small order
        raise SealedFileError('Expected an X25519 public key, but got a point of small order. Do not use it.') from None


def _shared_key(shared: bytes, ephemeral: bytes, public: bytes) -> bytes:
    """Return the wrapping key of a shared secret, bound to both public keys."""
    return HKDF(SHA256(), 32, SALT, b'sealed-file-x25519' + ephemeral + public).derive(shared)


def _scrypt(passphrase: bytes, salt: bytes, log2n: int) -> bytes:
    """Return the wrapping key of a passphrase."""
    try:
        return Scrypt(salt=salt, length=32, n=2**log2n, r=8, p=1).derive(passphrase)
    except MemoryError:
        raise KeyFileError(f'not enough memory: scrypt needs {2**log2n // 1024} MiB for this file.') from None


def _wrap(key: bytes, file_key: bytes, kind: str) -> dict[str, str]:
    """Encrypt a file key under a wrapping key."""
    nonce = os.urandom(12)
    return dict(nonce=encode(nonce), wrapped=encode(AESGCM(key).encrypt(nonce, file_key, kind.encode())))


def _unwrap(key: bytes, entry: dict[str, Any]) -> bytes | None:
    """Decrypt a file key; None where the wrapping key is another."""
    try:
        return AESGCM(key).decrypt(decode(entry['nonce'], 12), decode(entry['wrapped'], 48), entry['type'].encode())
    except InvalidTag:
        return None
