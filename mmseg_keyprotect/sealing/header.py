"""The header of a sealed file (docs/spec.md, section 9)."""

from __future__ import annotations

import hmac
import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mmseg_keyprotect.errors import SealedFileError, UnsupportedSpecError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.files import Passphrase
from mmseg_keyprotect.sealing.recipients import SALT, Recipient, check_entry, decode, encode, unwrap

MAGIC = b'MMSEG-KEYPROTECT-SEALED-FILE-1\n'
_ANY_VERSION = re.compile(rb'MMSEG-KEYPROTECT-SEALED-FILE-(\d{1,9})\n')
CHUNK_SIZE = 1 << 18
MAX_CHUNK_SIZE = 1 << 24
MAX_HEADER = 1 << 20
MAX_PASSPHRASES = 8


@dataclass(frozen=True)
class Header:
    """What stands before the chunks, in the clear, authenticated by the file key.

    Args:
        chunk_size: Plain bytes of every chunk but the last.
        key_id: Of the key that the sealed model needs, or that sealed it; empty where there is none.
        salt: 16 bytes, from which, with the file key, the key of the chunks is derived.
        recipients: The wrapped file keys.
    """

    chunk_size: int
    key_id: str
    salt: bytes
    recipients: tuple[dict[str, Any], ...]

    @classmethod
    def new(cls, file_key: bytes, recipients: Sequence[Recipient], key_id: str, chunk_size: int = CHUNK_SIZE) -> Header:
        """Make the header of a new file."""
        if not recipients:
            raise SealedFileError('Expected at least one recipient, but got none: nobody could open the file.')
        return cls(chunk_size, key_id, os.urandom(16), tuple(one.wrap(file_key) for one in recipients))

    def with_recipients(self, recipients: Sequence[dict[str, Any]]) -> Header:
        """Return the same header with other recipients."""
        return replace(self, recipients=tuple(recipients))

    def to_bytes(self, file_key: bytes) -> bytes:
        """Write magic, length, JSON and its authentication."""
        fields = {**asdict(self), 'salt': encode(self.salt)}
        text = json.dumps(fields, sort_keys=True, separators=(',', ':')).encode()
        if len(text) > MAX_HEADER:
            raise SealedFileError(f'Expected a header of at most {MAX_HEADER} bytes: these are too many recipients.')
        head = MAGIC + len(text).to_bytes(4, 'little') + text
        return head + _mac(file_key, head)

    def open(self, key: SecretKey | None, passphrase: Passphrase, head: bytes, mac: bytes) -> bytes:
        """Return the file key.

        Args:
            key: The secret key, if any.
            passphrase: The passphrase, if any.
            head: The bytes before the authentication.
            mac: The authentication.

        Raises:
            WrongKeyError: The file is for other keys.
            SealedFileError: It is for this key, and its header is damaged.
        """
        words: list[Passphrase] = []

        def ask() -> Passphrase:  # once, however many recipients are passphrases
            if not words:
                words.append(passphrase() if callable(passphrase) else passphrase)
            return words[0]

        for entry in sorted(self.recipients, key=lambda entry: entry['type'] == 'passphrase'):  # asked for last
            file_key = unwrap(entry, key, None if passphrase is None else ask)
            if file_key is None:
                continue
            if not hmac.compare_digest(mac, _mac(file_key, head)):
                raise SealedFileError(
                    'Expected an untouched header, but it was changed after sealing. Use another copy of the file.'
                )
            return file_key
        names = ', '.join(describe(entry) for entry in self.recipients)
        given = [f'the key {key.key_id}'] if key is not None else []
        given += ['a passphrase'] if words else []
        raise WrongKeyError(
            f'Expected one of the recipients of the file, {names}, but got {" and ".join(given) or "none"}, '
            'which does not open it. Give the right key file or passphrase, or ask for a copy for your key.'
        )


def read_header(file: BinaryIO) -> tuple[Header, bytes, bytes]:
    """Read a header.

    Returns:
        The header, its bytes before the authentication, and the authentication.

    Raises:
        SealedFileError: This is no sealed file, or its header is damaged.
        UnsupportedSpecError: It is of a newer version.
    """
    magic = file.read(len(MAGIC))
    if magic != MAGIC:
        match = _ANY_VERSION.match(magic)
        if match:
            raise UnsupportedSpecError(
                f'Expected a sealed file of version 1, but got version {match[1].decode()}. '
                'Install a newer mmseg-keyprotect.'
            )
        raise SealedFileError(
            'Expected a sealed file, but it does not begin like one. Leave `sealed://` out for a plain file.'
        )
    length = file.read(4)
    size = int.from_bytes(length, 'little')
    text = file.read(size) if size <= MAX_HEADER else b''
    mac = file.read(32)
    if size > MAX_HEADER or len(text) < size or len(mac) < 32:
        raise _damaged()
    return _parse(text), magic + length + text, mac


def describe(entry: dict[str, Any]) -> str:
    """Name a recipient in public."""
    name = entry.get('key_id') or entry.get('name')
    return f'{entry["type"]} {name}' if name else entry['type']


def payload_key(header: Header, file_key: bytes) -> bytes:
    """Return the key of the chunks."""
    return HKDF(SHA256(), 32, header.salt, b'sealed-payload').derive(file_key)


def _parse(text: bytes) -> Header:
    """Read the JSON of a header, which may be hostile."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise _damaged() from None
    if not isinstance(fields, dict) or set(fields) != {'chunk_size', 'key_id', 'salt', 'recipients'}:
        raise _damaged()
    size, key_id, recipients = fields['chunk_size'], fields['key_id'], fields['recipients']
    if type(size) is not int or not 1 <= size <= MAX_CHUNK_SIZE or not isinstance(recipients, list) or not recipients:
        raise _damaged()
    if not isinstance(key_id, str) or not re.fullmatch('(?:[0-9a-f]{16})?', key_id):
        raise _damaged()
    for entry in recipients:
        check_entry(entry)
    if sum(entry['type'] == 'passphrase' for entry in recipients) > MAX_PASSPHRASES:
        raise SealedFileError(
            f'Expected at most {MAX_PASSPHRASES} recipients that are passphrases, but the header holds more: it was '
            'made to exhaust this machine.'
        )
    return Header(size, key_id, decode(fields['salt'], 16), tuple(recipients))


def _mac(file_key: bytes, head: bytes) -> bytes:
    """Return the authentication of a header."""
    return hmac.digest(HKDF(SHA256(), 32, SALT, b'sealed-header').derive(file_key), head, 'sha256')


def _damaged() -> SealedFileError:
    """Return the error for a header that makes no sense."""
    return SealedFileError('Expected the header of a sealed file, but it is damaged. Use another copy of the file.')
