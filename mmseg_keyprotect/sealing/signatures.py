"""Signatures of publishers over sealed files, their header and content (docs/spec.md, section 9)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mmseg_keyprotect.errors import SealedFileError, SignatureError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import SEALED_FILE_ED25519, EncodingError, decode, encode
from mmseg_keyprotect.sealing.licences import Licence
from mmseg_keyprotect.sealing.public_texts import public_bytes, public_text

PUBLISHER_PREFIX = 'MMSEG-KEYPROTECT-PUBLISHER-1.'
DIGEST = 32
"""Bytes of the SHA-256 of a sealed chunk."""

_CONTEXT = b'mmseg-keyprotect/1 sealed-file-signature\n'
_FIELDS = {'publisher': 32, 'content': DIGEST, 'value': 64}


@dataclass(frozen=True)
class Signer:
    """Who signs a sealed file, and what they allow.

    Args:
        key: The publisher's secret key. It should be one that no customer has.
        licence: The licence. Default: no terms; a copy of a signed file keeps those that it has.

    Example:
        >>> signer = Signer(SecretKey.generate(), Licence('ACME', not_after='2099-12-31'))
        >>> with sealed_output('signed', [PassphraseRecipient('correct horse')], signer=signer) as writer:
        ...     _ = writer.write(b'weights')
        >>> with open_sealed('signed', passphrase='correct horse', publisher=publisher_of(signer.key)) as reader:
        ...     reader.read()
        b'weights'
    """

    key: SecretKey
    licence: Licence | None = None


@dataclass(frozen=True)
class Signature:
    """The signature in a header, with what it is about.

    Args:
        publisher: The Ed25519 public key, 32 bytes.
        licence: The licence.
        content: The SHA-256 of the digests of all sealed chunks, in order.
        value: The signature, 64 bytes; zeros as long as there is none.
    """

    publisher: bytes
    licence: Licence
    content: bytes = bytes(DIGEST)
    value: bytes = bytes(64)

    @classmethod
    def of(cls, signer: Signer) -> Signature:
        """Return the place of a signature that is still to be made."""
        return cls(_private(signer.key).public_key().public_bytes_raw(), signer.licence or Licence())

    def to_fields(self) -> dict[str, Any]:
        """Return the signature as the header holds it."""
        return {**{name: encode(getattr(self, name)) for name in _FIELDS}, 'licence': self.licence.to_fields()}

    @classmethod
    def from_fields(cls, fields: Any) -> Signature:
        """Return the signature of a header, which may be hostile.

        Raises:
            SealedFileError: The header holds something else.
        """
        try:
            if not isinstance(fields, dict) or set(fields) != {*_FIELDS, 'licence'}:
                raise EncodingError('other fields')
            raw = {
                name: decode(fields[name] if isinstance(fields[name], str) else '', n) for name, n in _FIELDS.items()
            }
        except EncodingError:
            raise SealedFileError(
                'Expected the signature of a sealed file, but the header holds something else: it is damaged. Use '
                'another copy of the file.'
            ) from None
        return cls(licence=Licence.from_fields(fields['licence']), **raw)

    def made(self, signer: Signer, header: bytes) -> Signature:
        """Return the signature with its value.

        Args:
            signer: Of this signature.
            header: The header without the value.
        """
        return replace(self, value=_private(signer.key).sign(_CONTEXT + header))

    def verify(self, header: bytes) -> None:
        """Check the signature.

        Args:
            header: The header without the value.

        Raises:
            SignatureError: Another key signed, or something else was signed.
        """
        try:
            Ed25519PublicKey.from_public_bytes(self.publisher).verify(self.value, _CONTEXT + header)
        except (InvalidSignature, ValueError):
            raise SignatureError(
                f'Expected a file that {self.publisher_text} signed, as its header says, but the signature is of '
                'another header: it was changed after signing. Do not use it.'
            ) from None

    @property
    def publisher_text(self) -> str:
        """The publisher, as :func:`~mmseg_keyprotect.sealing.publisher_of` gives it."""
        return public_text(PUBLISHER_PREFIX, self.publisher)


def publisher_of(key: SecretKey) -> str:
    """Return the public side of a key that signs, by which others recognise its files.

    Returns:
        ``MMSEG-KEYPROTECT-PUBLISHER-1.`` and the base64url of the Ed25519 public key and its checksum.

    Example:
        >>> publisher_of(SecretKey.from_bytes(bytes(32)))[:40]
        'MMSEG-KEYPROTECT-PUBLISHER-1.wxwnBY8Bei8'
    """
    return public_text(PUBLISHER_PREFIX, _private(key).public_key().public_bytes_raw())


def require_publisher(signature: Signature | None, publisher: str) -> None:
    """Refuse a file that another publisher signed, or none.

    Args:
        signature: Of the file, if any.
        publisher: The text of the publisher who must have signed.

    Raises:
        SignatureError: Another publisher signed, or none.
        KeyFileError: The text is not that of a publisher.
    """
    how = 'keyprotect keygen --show-publisher KEY_FILE'
    wanted = public_bytes(PUBLISHER_PREFIX, publisher.strip(), 32, 'a publisher', how)
    if signature is None or signature.publisher != wanted:
        found = 'one without a signature' if signature is None else f'one of {signature.publisher_text}'
        raise SignatureError(
            f'Expected a file that {publisher.strip()} signed, but got {found}. Ask the publisher for a signed copy.'
        )


def content_digest(digests: bytes) -> bytes:
    """Return the SHA-256 of the digests of all chunks."""
    return sha256(digests).digest()


def _private(key: SecretKey) -> Ed25519PrivateKey:
    """Return the Ed25519 private key of a secret key."""
    return Ed25519PrivateKey.from_private_bytes(key.derive(SEALED_FILE_ED25519, 32))
