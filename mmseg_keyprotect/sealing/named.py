"""Recipients and identities by their text: of this package, of age, and of PKCS#11 tokens."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.passphrases import find_passphrase
from mmseg_keyprotect.keys.providers import names_a_key, seal_key
from mmseg_keyprotect.sealing.age import PREFIXES, AgeIdentity, AgeRecipient
from mmseg_keyprotect.sealing.copies import file_info
from mmseg_keyprotect.sealing.entries import Opener, Recipient
from mmseg_keyprotect.sealing.pkcs11_uris import SCHEME
from mmseg_keyprotect.sealing.reading import VerifiedReader
from mmseg_keyprotect.sealing.recipients import OLD_PREFIX, PUBLIC_PREFIX, PublicRecipient, recipient_of
from mmseg_keyprotect.sealing.sealed_files import open_sealed
from mmseg_keyprotect.sealing.tokens import TOKEN_PREFIX, Token, TokenRecipient

IDENTITY_VARIABLE = 'KEYPROTECT_IDENTITY'
IDENTITY_KINDS = {'age', 'p256'}
"""The types of recipients that an identity opens."""

_opened: dict[str, Opener] = {}
"""The identities that this process has opened: each may ask for a PIN."""


def recipient_from(text: str) -> Recipient:
    """Return the recipient of a public text.

    Args:
        text: ``MMSEG-KEYPROTECT-RECIPIENT-...`` of a key or a token, ``age1...`` of age, or an SSH public key.

    Raises:
        KeyFileError: The text is of none of them, or has a mistyped character.
        MissingDependencyError: It is of age, and the package pyrage is not installed.

    Example:
        >>> type(recipient_from(recipient_of(SecretKey.generate()))).__name__
        'PublicRecipient'
    """
    text = text.strip()
    if text.startswith(PREFIXES):
        return AgeRecipient(text)
    if text.startswith(TOKEN_PREFIX):
        return TokenRecipient(text)
    if not text.startswith((PUBLIC_PREFIX, OLD_PREFIX)):
        raise KeyFileError(
            'Expected a recipient: MMSEG-KEYPROTECT-RECIPIENT-..., as `keyprotect keygen --show-recipient` prints it, '
            "age1... of age, or the whole line of an SSH public key, 'ssh-ed25519 ...' or 'ssh-rsa ...'; but got "
            'something else. Put a line with blanks into quotes.'
        )
    return PublicRecipient(text)


def opener_from(text: str) -> Opener:
    """Return the identity of the path of an age identity file, or of the URI of a PKCS#11 token. It is kept.

    Args:
        text: The path or the URI. The passphrase of an identity file comes from where that of a key comes from, the PIN
            of a token from its ``pin-source`` or a prompt.

    Raises:
        KeyFileError: The file or the token cannot be used.
        ConfigError: The URI has another form.
        LeakedKeyError: The URI holds the PIN.
        MissingDependencyError: A package that is needed is not installed.

    Example:
        >>> str(opener_from('me.txt'))   # doctest: +SKIP
        "the age identity '/home/me/me.txt'"
    """
    is_token = text.startswith(SCHEME)
    name = text if is_token else os.path.abspath(os.path.expanduser(text))
    if name not in _opened:
        _opened[name] = Token(name) if is_token else AgeIdentity(name)
    return _opened[name]


def opener_for(path: str | Path | BytesIO, key: SecretKey | None = None) -> SecretKey | Opener | None:
    """Return what opens a sealed file: a key, or the identity of ``KEYPROTECT_IDENTITY``.

    Args:
        path: The sealed file; or its bytes, where it is no file on this machine.
        key: The key, if any.

    Returns:
        The identity, if the environment names one, the file is for a token or for age, and the header names the key
        neither as a recipient nor as the one that sealed the file; else the key.

    Raises:
        MissingFileError: The file is missing or cannot be read.
        SignatureError: The header was changed after signing.
        SealedFileError: The file is not a sealed file, or its header is damaged.
        KeyFileError: The identity cannot be used.

    Example:
        >>> key = SecretKey.from_bytes(bytes(32))
        >>> with sealed_output('mine.sealed', [KeyRecipient(key)]) as writer:
        ...     _ = writer.write(b'weights')
        >>> opener_for('mine.sealed', key)
        <SecretKey key_id=70a28782cc93edea>
    """
    identity = os.environ.get(IDENTITY_VARIABLE)
    if not identity:
        return key
    found = file_info(path)
    names = set(found['recipients'])
    if key is not None:
        public = PublicRecipient(recipient_of(key))
        if key.key_id == found['key_id'] or names & {f'key {key.key_id}', f'x25519 {public.name}'}:
            return key
    return opener_from(identity) if {name.split()[0] for name in names} & IDENTITY_KINDS else key


def open_by_environment(path: str | Path, key: Any = None) -> VerifiedReader:
    """Open a sealed file with what the environment names: an identity, a key, or a passphrase.

    Args:
        path: The sealed file.
        key: The configuration of a key, as for :func:`~mmseg_keyprotect.keys.providers.seal_key`. Default: the key of
            the environment, if any. :func:`~mmseg_keyprotect.sealing.opener_for` says when an identity opens the file
            in its place. A passphrase is asked for last.

    Raises:
        MissingFileError: The file is missing or cannot be read.
        SignatureError: The signature is of another file, of another publisher, or missing where one is required.
        LicenceError: The licence has not begun, has ended, or is for another device.
        WrongKeyError: The file is for others.
        SealedFileError: The file is damaged.
        KeyFileError: There is neither a key nor a passphrase.

    Example:
        >>> with sealed_output('named.sealed', [KeyRecipient(SecretKey.from_bytes(bytes(32)))]) as writer:
        ...     _ = writer.write(b'weights')
        >>> with open_by_environment('named.sealed', SecretKey.from_bytes(bytes(32))) as reader:
        ...     reader.read()
        b'weights'
    """
    own = seal_key(key) if key is not None or names_a_key() else None
    return open_sealed(path, opener_for(path, own), find_passphrase)
