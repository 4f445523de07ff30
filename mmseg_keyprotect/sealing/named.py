"""Recipients and identities by their text: of this package, of age, and of PKCS#11 tokens."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.passphrases import find_passphrase, prompt_passphrase
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
        >>> opener_from('me.txt').recipient   # doctest: +SKIP
        'age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa'
    """
    if text.startswith(SCHEME):
        if text not in _opened:
            _opened[text] = Token(text, lambda: prompt_passphrase('PIN of the token: '))
        return _opened[text]
    path = os.path.abspath(os.path.expanduser(text))
    if path not in _opened:
        _opened[path] = AgeIdentity(path, find_passphrase)
    return _opened[path]


def opener_of_environment() -> Opener | None:
    """Return the identity that ``KEYPROTECT_IDENTITY`` names, if any. The errors are those of ``opener_from``.

    Example:
        >>> opener_of_environment() is None
        True
    """
    named = os.environ.get(IDENTITY_VARIABLE)
    return opener_from(named) if named else None


def open_by_environment(path: str | Path, key: Any = None) -> VerifiedReader:
    """Open a sealed file with what the environment names: an identity, a key, or a passphrase.

    Args:
        path: The sealed file.
        key: The configuration of a key, as for :func:`~mmseg_keyprotect.keys.providers.seal_key`. Default: the key of
            the environment, if any. Where the header does not name it, the identity of ``KEYPROTECT_IDENTITY`` opens
            a file that is for a token or for age. A passphrase is asked for last.

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
    opener: SecretKey | Opener | None = seal_key(key) if key is not None or names_a_key() else None
    found = file_info(path)
    if {name.split()[0] for name in found['recipients']} & IDENTITY_KINDS and not _names(found, opener):
        opener = opener_of_environment() or opener
    return open_sealed(path, opener, find_passphrase)


def _names(found: dict[str, Any], key: SecretKey | Opener | None) -> bool:
    """Tell whether a header names a key, as the one that sealed the file or as a recipient."""
    if not isinstance(key, SecretKey):
        return False
    own = PublicRecipient(recipient_of(key)).name
    return key.key_id == found['key_id'] or bool({f'key {key.key_id}', f'x25519 {own}'} & set(found['recipients']))
