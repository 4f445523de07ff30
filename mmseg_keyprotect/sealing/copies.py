"""Describing sealed files, and copying them for other recipients (docs/spec.md, section 9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from io import SEEK_END, BytesIO
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import ConfigError, SealedFileError, SignatureError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing.entries import Entry, Opener, Recipient
from mmseg_keyprotect.sealing.header import describe
from mmseg_keyprotect.sealing.parsing import read_header
from mmseg_keyprotect.sealing.reading import SealedReader, VerifiedReader
from mmseg_keyprotect.sealing.sealed_files import open_file, required_publisher, signed_by
from mmseg_keyprotect.sealing.signatures import Signature, Signer
from mmseg_keyprotect.sealing.writing import ChunkWriter


def file_info(path: str | Path | BytesIO) -> dict[str, Any]:
    """Return what a sealed file says about itself without a key. Only opening it proves that this is true.

    Args:
        path: The sealed file; or its bytes, where it is no file on this machine.

    Returns:
        ``version``, ``key_id``, ``chunk_size`` and ``sealed_bytes`` (sizes in bytes), and ``recipients``, their names.
        Of a signed file also ``publisher``, whose signature of the header was checked, and ``licence``, a dict.

    Raises:
        MissingFileError: The file is missing or cannot be read.
        SignatureError: The header was changed after signing.
        SealedFileError: The file is not a sealed file, or its header is damaged.

    Example:
        >>> with sealed_output('x.sealed', [KeyRecipient(SecretKey.from_bytes(bytes(32)))]) as writer:
        ...     _ = writer.write(bytes(10))
        >>> file_info('x.sealed')['recipients']
        ['key 70a28782cc93edea']
    """
    with BytesIO(path.getvalue()) if isinstance(path, BytesIO) else open_file(path) as file:
        header, _, _ = read_header(file)
        header.check(publisher='', licence=False)
        found = dict(
            version=header.version,
            key_id=header.key_id,
            chunk_size=header.chunk_size,
            sealed_bytes=file.seek(0, SEEK_END),
            recipients=[describe(entry) for entry in header.recipients],
        )
        if header.signature is not None:
            found |= dict(publisher=header.signature.publisher_text, licence=header.signature.licence.to_fields())
        return found


@without_locals
def add_recipients(
    source: str | Path,
    target: str | Path,
    recipients: Sequence[Recipient],
    key: SecretKey | Opener | None = None,
    passphrase: Passphrase = None,
    signer: Signer | None = None,
) -> None:
    """Copy a sealed file for more recipients. The chunks are copied unchanged.

    The copy of a signed file must be signed anew. It keeps the licence, unless the signer gives another; so a publisher
    renews one that has ended. The copy of an unsigned file can be signed.

    Args:
        source: The sealed file; it stays as it is.
        target: The file to make.
        recipients: Who can open the copy too.
        key: A secret key or another identity that opens the source, if any.
        passphrase: A passphrase that opens the source, or a function that returns it, if any.
        signer: Who signs the copy, and with which licence; by default nobody.

    Raises:
        SignatureError: The source is signed and there is no signer, or its signature is wrong.
        LicenceError: The licence of the source does not allow to open it, and the signer is not its publisher.
        MissingFileError: The source is missing or cannot be read.
        OutputError: The target exists or cannot be written.
        WrongKeyError: Neither ``key`` nor ``passphrase`` opens the source.
        SealedFileError: The source is damaged.

    Example:
        >>> key, theirs = SecretKey.generate(), SecretKey.generate()
        >>> with sealed_output('mine.sealed', [KeyRecipient(key)]) as writer:
        ...     _ = writer.write(b'weights')
        >>> add_recipients('mine.sealed', 'ours.sealed', [PublicRecipient(recipient_of(theirs))], key)
        >>> with open_sealed('ours.sealed', theirs) as reader:
        ...     reader.read()
        b'weights'
    """
    with new_file(target) as temporary, _opened(source, key, passphrase, signer) as reader:
        wrapped = [one.wrap(reader.raw.file_key) for one in recipients]
        _copy_with(reader.raw, [*reader.raw.header.recipients, *wrapped], temporary, signer)


@without_locals
def remove_recipient(
    source: str | Path,
    target: str | Path,
    name: str,
    key: SecretKey | Opener | None = None,
    passphrase: Passphrase = None,
    signer: Signer | None = None,
) -> None:
    """Copy a sealed file without one of its recipients. The chunks are copied unchanged.

    The removed recipient can still open older copies, and this copy with a file key that they have stored. Seal the
    plain file anew to exclude them.

    Args:
        source: The sealed file; it stays as it is.
        target: The file to make.
        name: The recipient as :func:`mmseg_keyprotect.sealing.file_info` names it, with or without the type.
        key: A secret key or another identity that opens the source, if any.
        passphrase: A passphrase that opens the source, or a function that returns it, if any.
        signer: Who signs the copy, and with which licence; by default nobody.

    Raises:
        SignatureError: The source is signed and there is no signer, or its signature is wrong.
        LicenceError: The licence of the source does not allow to open it, and the signer is not its publisher.
        ConfigError: There is no such recipient.
        MissingFileError: The source is missing or cannot be read.
        OutputError: The target exists or cannot be written.
        WrongKeyError: Neither ``key`` nor ``passphrase`` opens the source.
        SealedFileError: The source is damaged, or the recipient is its last one.

    Example:
        >>> key = SecretKey.generate()
        >>> with sealed_output('two.sealed', [KeyRecipient(key), PassphraseRecipient('correct horse')]) as writer:
        ...     _ = writer.write(b'weights')
        >>> remove_recipient('two.sealed', 'one.sealed', 'passphrase', key)
        >>> len(file_info('one.sealed')['recipients'])
        1
    """
    with new_file(target) as temporary, _opened(source, key, passphrase, signer) as reader:
        entries = reader.raw.header.recipients
        left = [entry for entry in entries if name not in (describe(entry), describe(entry).split()[-1])]
        if len(left) == len(entries):
            raise ConfigError(
                f'Expected a recipient out of {", ".join(map(describe, entries))}, but got {name!r}. Name one of them.'
            )
        if not left:
            raise SealedFileError('Expected a recipient to be left, but this is the last one. Delete the file instead.')
        _copy_with(reader.raw, left, temporary, signer)


def _opened(
    source: str | Path, key: SecretKey | Opener | None, passphrase: Passphrase, signer: Signer | None
) -> VerifiedReader:
    """Open a sealed file for copying. Its publisher may do so when its licence has ended."""
    file = open_file(source)
    try:
        signature = read_header(file)[0].signature
        file.seek(0)
        if signature is not None and signer is None:
            raise SignatureError(
                f'Expected the key that signs the copy, since {source} is signed, but got none. Give the key of '
                f'{signature.publisher_text}.'
            )
        licence = signer is None or not signed_by(file, signer)
        return VerifiedReader(SealedReader(file, key, passphrase, required_publisher(), licence))
    except BaseException:
        file.close()
        raise


def _copy_with(reader: SealedReader, entries: Sequence[Entry], target: Path, signer: Signer | None) -> None:
    """Write a copy of a sealed file with other recipients, of chunks that are verified one by one."""
    header, before = reader.header.with_recipients(entries), reader.header.signature
    if signer is not None and signer.licence is None and before is not None:
        signer = replace(signer, licence=before.licence)
    header = replace(header, signature=None if signer is None else Signature.of(signer))
    with open(target, 'wb') as file:
        writer = ChunkWriter(file, header, reader.file_key, signer)
        for sealed in reader.sealed_chunks():
            writer.write(sealed)
        writer.finish()
