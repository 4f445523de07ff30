"""Recipients and identities of the tool age: X25519, SSH, and its plugins for tokens and cloud keys.

Source: https://age-encryption.org/v1. The file key is the content of a small age file in the header (docs/spec.md,
section 9), which the tool itself opens, too.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from typing import Any

from mmseg_keyprotect.errors import KeyFileError, MissingDependencyError, SealedFileError
from mmseg_keyprotect.keys.encoding import decode, encode
from mmseg_keyprotect.keys.files import AnyPath, read_secret_bytes
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.passphrases import find_passphrase, prompt_passphrase
from mmseg_keyprotect.sealing.entries import FILE_KEY, Entry, Opener, Recipient
from mmseg_keyprotect.sealing.public_texts import name_of

PREFIXES = ('age1', 'ssh-ed25519 ', 'ssh-rsa ')
"""How the texts of these recipients begin."""

_PLUGIN = 'AGE-PLUGIN-'
_BINARY, _ARMOR = b'age-encryption.org/', b'-----BEGIN AGE ENCRYPTED FILE-----'
_NO_MATCH = 'No matching keys'
"""What pyrage says of a file that is for somebody else."""


class AgeRecipient(Recipient):
    """A holder of an identity of age.

    Args:
        text: ``age1...``, also of a plugin, whose program must then be on the PATH, or an SSH public key.

    Raises:
        KeyFileError: The text is no recipient of age.
        MissingDependencyError: The package pyrage is not installed.

    Example:
        >>> AgeRecipient('age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa').name
        'e669ae85e3185682'
    """

    def __init__(self, text: str) -> None:
        self.text = text.strip()
        self.name = name_of(self.text.encode())
        self._recipient = _parse(_recipient, self.text, f'a recipient of age, but got {self.text[:60]!r}')

    def wrap(self, file_key: bytes) -> Entry:
        """Encrypt the file key as age does."""
        pyrage = _pyrage()
        try:
            return dict(type='age', name=self.name, file=encode(pyrage.encrypt(file_key, [self._recipient])))
        except pyrage.EncryptError as error:  # of a plugin
            raise KeyFileError(
                f'Expected age to encrypt for {self.text[:60]!r}, but got: {error}. Check the plugin.'
            ) from None


class AgeIdentity(Opener):
    """The identities in a file of ``age-keygen``, of a plugin, or an SSH private key.

    Args:
        path: The file. Only its owner may read it. One that ``age -p`` encrypted needs the passphrase.
        passphrase: A function that returns the passphrase, called where it is needed. Default: what is asked for a
            sealed key, :func:`~mmseg_keyprotect.keys.passphrases.find_passphrase`.

    Raises:
        KeyFileError: The file is missing, exposed, or holds no identity.
        MissingDependencyError: The package pyrage is not installed.

    Example:
        >>> identity = AgeIdentity('me.txt')                      # doctest: +SKIP
        >>> with open_sealed('model.sealed', identity) as reader: # doctest: +SKIP
        ...     content = reader.read()
    """

    @without_locals
    def __init__(self, path: AnyPath, passphrase: Callable[[], str] = find_passphrase) -> None:
        self.path = os.fsdecode(path)
        what = f'an identity file of age, but {self.path!r} is none'
        content = read_secret_bytes(self.path, 'age identity file')
        if content.startswith((_BINARY, _ARMOR)):
            locked = content
            content = _parse(lambda rage, word: rage.passphrase.decrypt(locked, word), passphrase(), what)
        text = content.decode('utf-8', 'replace')
        if 'PRIVATE KEY-----' in text:
            what += ' that works: age opens RSA and Ed25519 keys without a passphrase'
            self._identities = [_parse(lambda rage, key: rage.ssh.Identity.from_buffer(key.encode()), text, what)]
        else:
            lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith('#')]
            self._identities = [_parse(_identity, line, what) for line in lines]
        self._has_plugin = any(line.startswith(_PLUGIN) for line in text.splitlines())
        if not self._identities:
            raise KeyFileError(f'Expected {what}. Make one with `age-keygen -o {shlex.quote(self.path)}`.')

    def __str__(self) -> str:
        """Return the name for messages."""
        return f'the age identity {self.path!r}'

    @without_locals
    def unwrap(self, entry: Entry) -> bytes | None:
        """Decrypt the age file of an entry."""
        if entry['type'] != 'age':
            return None
        pyrage = _pyrage()
        try:
            content: bytes = pyrage.decrypt(decode(entry['file'], len(entry['file']) * 3 // 4), self._identities)
        except pyrage.DecryptError as error:
            if _NO_MATCH in str(error):
                return None
            kind = KeyFileError if self._has_plugin else SealedFileError
            raise kind(
                f'Expected {self} to open its entry, but got: {error}. Put the token of a plugin in, or ask for '
                'another copy of the file.'
            ) from None
        if len(content) != FILE_KEY:
            raise SealedFileError(
                f'Expected a file key of {FILE_KEY} bytes from age, but got another size: the file is damaged. Use '
                'another copy of it.'
            )
        return content


class _Terminal:
    """What a plugin asks the user: to touch a token, to confirm, or for a PIN."""

    def display_message(self, message: str) -> None:
        print(message, file=sys.stderr)

    def confirm(self, message: str, yes: str, no: str | None) -> bool | None:
        return None  # cannot ask

    def request_public_string(self, description: str) -> str | None:
        return None

    def request_passphrase(self, description: str) -> str | None:
        return prompt_passphrase(f'{description}: ')


def _recipient(pyrage: Any, text: str) -> Any:
    if text.startswith('ssh-'):
        return pyrage.ssh.Recipient.from_str(text)
    if text.startswith('age1') and '1' in text[4:]:  # age1NAME1...
        recipient = pyrage.plugin.Recipient.from_str(text)
        return pyrage.plugin.RecipientPluginV1(recipient.plugin(), [recipient], [], _Terminal())
    return pyrage.x25519.Recipient.from_str(text)


def _identity(pyrage: Any, text: str) -> Any:
    if text.startswith(_PLUGIN):
        identity = pyrage.plugin.Identity.from_str(text)
        return pyrage.plugin.IdentityPluginV1(identity.plugin(), [identity], _Terminal())
    return pyrage.x25519.Identity.from_str(text)


@without_locals
def _parse(make: Callable[[Any, str], Any], text: str, what: str) -> Any:
    """Return what pyrage makes of a text. What it says of a text that it refuses is not shown: it may be secret."""
    pyrage = _pyrage()
    kinds = (pyrage.RecipientError, pyrage.IdentityError, pyrage.DecryptError, pyrage.EncryptError, ValueError, OSError)
    try:
        return make(pyrage, text)
    except kinds as error:
        raise KeyFileError(
            f'Expected {what} ({type(error).__name__}). Check the text, and the plugin of age.'
        ) from None


def _pyrage() -> Any:
    try:
        import pyrage
    except ImportError:
        raise MissingDependencyError.of('pyrage', 'age') from None
    return pyrage
