"""The header of a sealed file: chunk size, key id, salt, recipients and signature (docs/spec.md, section 9)."""

from __future__ import annotations

import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from mmseg_keyprotect.errors import SealedFileError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import SEALED_HEADER, SEALED_PAYLOAD, Passphrase, encode, hkdf
from mmseg_keyprotect.sealing.entries import FIELDS, Entry, Opener, Recipient
from mmseg_keyprotect.sealing.recipients import unwrap
from mmseg_keyprotect.sealing.signatures import Signature, Signer, require_publisher

MAGIC = b'MMSEG-KEYPROTECT-SEALED-FILE-1\n'
SIGNED_MAGIC = b'MMSEG-KEYPROTECT-SEALED-FILE-2\n'
"""Of files with a signature."""

CHUNK_SIZE = 1 << 18
MAX_HEADER = 1 << 20
SHOWN = 8
"""Recipients that an error message names."""


@dataclass(frozen=True)
class Header:
    """The part before the chunks, readable without a key and authenticated by the file key.

    Args:
        chunk_size: Plain bytes of every chunk except the last, which may be shorter.
        key_id: The id of the key that the sealed model needs, or that sealed it; empty where there is none.
        salt: 16 bytes. The key of the chunks is derived from them and the file key.
        recipients: The file key, wrapped for each recipient.
        signature: Of the publisher, if any.
    """

    chunk_size: int
    key_id: str
    salt: bytes
    recipients: tuple[Entry, ...]
    signature: Signature | None = None

    @classmethod
    def new(
        cls,
        file_key: bytes,
        recipients: Sequence[Recipient],
        key_id: str,
        signer: Signer | None = None,
        chunk_size: int = CHUNK_SIZE,
    ) -> Header:
        """Make the header of a new file.

        Args:
            file_key: 32 fresh random bytes.
            recipients: At least one.
            key_id: The key id to name, or empty text.
            signer: Who will sign it, if anybody: the header has a place for the signature.
            chunk_size: Plain bytes of a chunk.

        Raises:
            SealedFileError: There is no recipient.
        """
        if not recipients:
            raise SealedFileError('Expected at least one recipient, but got none: nobody could open it. Name one.')
        signature = None if signer is None else Signature.of(signer)
        return cls(chunk_size, key_id, os.urandom(16), tuple(one.wrap(file_key) for one in recipients), signature)

    def with_recipients(self, recipients: Sequence[Entry]) -> Header:
        """Return the same header with other recipients. It names a key that sealed it as long as that can open it."""
        before, after = ({entry.get('key_id') for entry in entries} for entries in (self.recipients, recipients))
        return replace(self, key_id='' if self.key_id in before - after else self.key_id, recipients=tuple(recipients))

    def signed(self, signer: Signer, content: bytes) -> Header:
        """Return the same header with a signature.

        Args:
            signer: Who signs.
            content: The SHA-256 of the digests of all sealed chunks.
        """
        signature = replace(Signature.of(signer), content=content)
        header = replace(self, signature=signature)
        return replace(header, signature=signature.made(signer, header._without_value()))

    def check(self, publisher: str, licence: bool = True) -> None:
        """Check the signature and the licence, before anything is decrypted.

        Args:
            publisher: The text of the publisher who must have signed; empty where anybody or nobody may.
            licence: Whether the licence counts.

        Raises:
            SignatureError: The signature is of another header, of another publisher, or missing.
            LicenceError: The licence has not begun, has ended, or is for another device.
        """
        if publisher:
            require_publisher(self.signature, publisher)
        if self.signature is not None:
            self.signature.verify(self._without_value())
            if licence:
                self.signature.licence.check()

    @property
    def version(self) -> int:
        """The version of the format."""
        return 1 if self.signature is None else 2

    def _fields(self) -> dict[str, Any]:
        fields = dict(
            chunk_size=self.chunk_size, key_id=self.key_id, salt=encode(self.salt), recipients=list(self.recipients)
        )
        return fields if self.signature is None else {**fields, 'signature': self.signature.to_fields()}

    def _without_value(self) -> bytes:
        """Return the JSON that is signed."""
        fields = self._fields()
        del fields['signature']['value']
        return canonical(fields)

    def to_bytes(self, file_key: bytes) -> bytes:
        """Return the bytes of the header: magic, length, JSON and their authentication.

        Raises:
            SealedFileError: There are too many recipients.
        """
        text = canonical(self._fields())
        if len(text) > MAX_HEADER:
            raise SealedFileError(
                f'Expected a header of at most {MAX_HEADER} bytes, but got {len(text)}. Name fewer recipients, or '
                'shorten the terms.'
            )
        head = (MAGIC if self.signature is None else SIGNED_MAGIC) + len(text).to_bytes(4, 'little') + text
        return head + _mac(file_key, head)

    def open(
        self, key: SecretKey | Opener | None, passphrase: Passphrase, head: bytes, mac: bytes
    ) -> tuple[bytes, str]:
        """Return the file key, and the type of the recipient that opens the file.

        Keys are tried before the passphrase. A function for the passphrase is called at most once, however many
        recipients are passphrases. Whoever knows a recipient's public text can make a file for it; a file that names
        ``key`` as the key that sealed it must open by the secret key itself.

        Args:
            key: The secret key or another identity, if any.
            passphrase: The passphrase, or a function that returns it, if any.
            head: The bytes before the authentication.
            mac: The authentication.

        Raises:
            WrongKeyError: The file is sealed for other recipients.
            SealedFileError: The file is sealed for this key, and its header is damaged; or it names this key, which did
                not seal it.
        """
        mine = key.key_id if isinstance(key, SecretKey) else ''
        claimed = mine and mine in (self.key_id, *(entry.get('key_id') for entry in self.recipients))
        given = [] if key is None else [f'the key {mine}' if mine else str(key)]
        for entry in sorted(self.recipients, key=lambda entry: list(FIELDS).index(entry['type'])):
            if entry['type'] == 'passphrase' and passphrase is not None and 'a passphrase' not in given:
                passphrase = passphrase() if callable(passphrase) else passphrase
                given.append('a passphrase')
            file_key = unwrap(entry, key, passphrase)
            if file_key is None:
                continue
            if claimed and entry['type'] == 'x25519':
                raise SealedFileError(
                    f'Expected a file that the key {mine} sealed, as its header says, but got one that somebody made '
                    'for the public text of this key. Do not use it.'
                )
            if not hmac.compare_digest(mac, _mac(file_key, head)):
                raise SealedFileError(
                    'Expected an untouched header, but it was changed after sealing. Use another copy of the file.'
                )
            return file_key, entry['type']
        shown = [describe(entry) for entry in self.recipients[:SHOWN]]
        names = ', '.join(shown + ['others'] * (len(self.recipients) > SHOWN))
        raise WrongKeyError(
            f'Expected one of the recipients of the file, {names}, but got {" and ".join(given) or "none"}, '
            'which does not open it. Give the right key file or passphrase, or ask for a copy that is sealed for your '
            'key.'
        )


def describe(entry: Entry) -> str:
    """Return the public name of a recipient, for example ``key 70a28782cc93edea``."""
    return ' '.join(str(entry[name]) for name in ('type', 'key_id', 'name') if name in entry)


def payload_key(header: Header, file_key: bytes) -> bytes:
    """Return the key that encrypts the chunks, 32 bytes."""
    return hkdf(file_key, SEALED_PAYLOAD, salt=header.salt)


def canonical(fields: Any) -> bytes:
    """Return the one form that the JSON of a header has."""
    return json.dumps(fields, sort_keys=True, separators=(',', ':'), allow_nan=False).encode()


def _mac(file_key: bytes, head: bytes) -> bytes:
    """Return the authentication of a header."""
    return hmac.digest(hkdf(file_key, SEALED_HEADER), head, 'sha256')
