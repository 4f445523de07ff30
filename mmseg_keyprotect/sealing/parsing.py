"""Reading the header of a sealed file, which may be hostile (docs/spec.md, section 9)."""

from __future__ import annotations

import json
import re
from io import BufferedIOBase

from mmseg_keyprotect.errors import SealedFileError, UnsupportedSpecError
from mmseg_keyprotect.sealing.entries import check_entry, header_bytes
from mmseg_keyprotect.sealing.header import MAGIC, MAX_HEADER, SIGNED_MAGIC, Header, canonical
from mmseg_keyprotect.sealing.signatures import Signature

_ANY_VERSION = re.compile(rb'MMSEG-KEYPROTECT-SEALED-FILE-(\d{1,9})\n')
MAX_CHUNK_SIZE = 1 << 24
MAX_PASSPHRASES = 8
MAX_LOG2N_OF_ALL = 21
"""Of the work of scrypt for all passphrases of a file: eight that this package writes are half of it."""

MAX_IDENTITIES = 64
"""Recipients of age and of tokens: for each a plugin may start, or a token compute."""


def read_header(file: BufferedIOBase) -> tuple[Header, bytes, bytes]:
    """Read the header of a sealed file, which may be hostile.

    Args:
        file: Open at its start; afterwards its position is the first chunk.

    Returns:
        The header, its bytes before the authentication, and the authentication.

    Raises:
        SealedFileError: This is not a sealed file, or its header is damaged.
        UnsupportedSpecError: The file has a newer version.
    """
    magic = file.read(len(MAGIC))
    if magic not in (MAGIC, SIGNED_MAGIC):
        match = _ANY_VERSION.match(magic)
        if match:
            raise UnsupportedSpecError(
                f'Expected a sealed file of version 1 or 2, but got version {match[1].decode()}. '
                'Install a newer mmseg-keyprotect.'
            )
        raise SealedFileError(
            'Expected a sealed file, but got one that does not begin like a sealed file. Leave `sealed://` out for a '
            'plain file.'
        )
    length = file.read(4)
    size = int.from_bytes(length, 'little')
    text = file.read(size) if size <= MAX_HEADER else b''
    mac = file.read(32)
    if size > MAX_HEADER or len(text) < size or len(mac) < 32:
        raise _damaged()
    return _parse(text, magic == SIGNED_MAGIC), magic + length + text, mac


def _parse(text: bytes, signed: bool) -> Header:
    """Parse the JSON of a header, which may be hostile."""
    names = {'chunk_size', 'key_id', 'salt', 'recipients', *(('signature',) if signed else ())}
    try:
        fields = json.loads(text.decode('utf-8'))
        one_form = canonical(fields) == text
    except (ValueError, TypeError, RecursionError):
        raise _damaged() from None
    if not one_form:  # blanks, a name twice, another encoding
        raise _damaged()
    if not isinstance(fields, dict) or set(fields) != names:
        raise _damaged()
    size, key_id, recipients = fields['chunk_size'], fields['key_id'], fields['recipients']
    if type(size) is not int or not 1 <= size <= MAX_CHUNK_SIZE or not isinstance(recipients, list) or not recipients:
        raise _damaged()
    if not isinstance(key_id, str) or not re.fullmatch('(?:[0-9a-f]{16})?', key_id):
        raise _damaged()
    for entry in recipients:
        check_entry(entry)
    factors = [entry['log2n'] for entry in recipients if entry['type'] == 'passphrase']
    if len(factors) > MAX_PASSPHRASES or sum(2**factor for factor in factors) > 2**MAX_LOG2N_OF_ALL:
        raise SealedFileError(
            f'Expected at most {MAX_PASSPHRASES} recipients that are passphrases, with work factors that sum to at '
            f'most 2**{MAX_LOG2N_OF_ALL}, but the header holds more: it was made to exhaust this machine. Use another '
            'copy of the file.'
        )
    if sum(entry['type'] in ('age', 'p256') for entry in recipients) > MAX_IDENTITIES:
        raise SealedFileError(
            f'Expected at most {MAX_IDENTITIES} recipients of age and of tokens, but the header holds more: it was '
            'made to start as many programs. Use another copy of the file.'
        )
    signature = Signature.from_fields(fields['signature']) if signed else None
    return Header(size, key_id, header_bytes(fields['salt'], 16), tuple(recipients), signature)


def _damaged() -> SealedFileError:
    """Return the error for a header that cannot be parsed."""
    return SealedFileError('Expected the header of a sealed file, but it is damaged. Use another copy of the file.')
