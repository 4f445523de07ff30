"""The recipients of a sealed file: its file key, wrapped for each of them (docs/spec.md, section 9)."""

from __future__ import annotations

import os
import warnings

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from mmseg_keyprotect.errors import SealedFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import (
    LOG2N,
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
from mmseg_keyprotect.sealing.entries import Entry, Opener, Recipient, unbox, wrap
from mmseg_keyprotect.sealing.public_texts import name_of, public_bytes, public_text

PUBLIC_PREFIX = 'MMSEG-KEYPROTECT-RECIPIENT-2.'
OLD_PREFIX = 'MMSEG-KEYPROTECT-RECIPIENT-1.'
"""Of the version without a checksum, in which nearly every mistyped character gave another recipient."""


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
        return dict(type='key', key_id=self.key.key_id, **wrap(self.key.derive(SEALED_FILE, 32), file_key, 'key'))


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
        box = wrap(_shared_key(shared, ephemeral, self.public), file_key, 'x25519')
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
        box = wrap(scrypt(self.passphrase, salt, LOG2N), file_key, 'passphrase')
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
    return public_text(PUBLIC_PREFIX, public)


def unwrap(entry: Entry, key: SecretKey | Opener | None, passphrase: Passphrase) -> bytes | None:
    """Return the file key of one entry, or None where the entry is not for this key or passphrase.

    Args:
        entry: A recipient that :func:`~mmseg_keyprotect.sealing.entries.check_entry` has accepted.
        key: The secret key or another identity, if any.
        passphrase: The passphrase, if any.
    """
    kind = entry['type']
    if isinstance(key, Opener):
        file_key = key.unwrap(entry)
        if file_key is not None:
            return file_key
        key = None
    if kind == 'key' and key is not None and entry['key_id'] == key.key_id:
        return unbox(key.derive(SEALED_FILE, 32), entry)
    if kind == 'x25519' and key is not None:
        mine = _private(key)
        public = mine.public_key().public_bytes_raw()
        if entry['name'] == name_of(public):
            ephemeral = decode(entry['ephemeral'], 32)
            return unbox(_shared_key(_exchange(mine, ephemeral), ephemeral, public), entry)
    if kind == 'passphrase' and passphrase is not None:
        return unbox(scrypt(passphrase_bytes(passphrase), decode(entry['salt'], 16), entry['log2n']), entry)
    return None


def _parse_public(text: str) -> bytes:
    """Return the public key of a recipient's text."""
    if text.startswith(OLD_PREFIX):
        try:
            public = decode(text.removeprefix(OLD_PREFIX), 32)
        except EncodingError:
            pass  # the message of the new version
        else:
            warnings.warn(
                'This recipient is of version 1, without a checksum: a mistyped character is not noticed. Ask for what '
                '`keyprotect keygen --show-recipient KEY_FILE` of a newer version prints.',
                stacklevel=4,
            )
            return public
    how = 'keyprotect keygen --show-recipient KEY_FILE'
    return public_bytes(PUBLIC_PREFIX, text, 32, 'a recipient', how)


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
