"""Public keys as text with a checksum, to be sent to others (docs/spec.md, section 9)."""

from __future__ import annotations

from hashlib import sha256

from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys.encoding import EncodingError, decode, encode, encoded_length

_CHECKSUM = 4


def public_text(prefix: str, public: bytes) -> str:
    """Return a public key as text.

    Args:
        prefix: What kind of key it is, with its version.
        public: The public key.

    Example:
        >>> public_text('EXAMPLE-1.', bytes(32))
        'EXAMPLE-1.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABuVG7a'
    """
    return prefix + encode(public + _checksum(prefix, public))


def public_bytes(prefix: str, text: str, size: int, what: str, how: str) -> bytes:
    """Return the public key of a text.

    Args:
        prefix: As of :func:`~mmseg_keyprotect.sealing.public_texts.public_text`.
        text: The text, which may be hostile.
        size: Bytes of the public key.
        what: The kind of text, for the message.
        how: The command that prints such a text.

    Raises:
        KeyFileError: The text has another form, or a mistyped character.
    """
    try:
        raw = decode(text.removeprefix(prefix), size + _CHECKSUM) if text.startswith(prefix) else b''
    except EncodingError:
        raw = b''
    if not raw:
        raise KeyFileError(
            f'Expected {what}, {prefix!r} and {encoded_length(size + _CHECKSUM)} characters, but got something else. '
            f'Ask for what `{how}` prints.'
        )
    public, checksum = raw[:size], raw[size:]
    if checksum != _checksum(prefix, public):
        raise KeyFileError(f'Expected {what} with its checksum, but a character is mistyped. Ask for it again.')
    return public


def name_of(public: bytes) -> str:
    """Return the short name of a public key: the first 16 hex characters of its SHA-256."""
    return sha256(public).hexdigest()[:16]


def _checksum(prefix: str, public: bytes) -> bytes:
    """Return the first 4 bytes of the SHA-256 of the prefix and the public key."""
    return sha256(prefix.encode() + public).digest()[:_CHECKSUM]
