"""Sealing, opening and describing files on disk (docs/spec.md, section 9)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from mmseg_keyprotect.errors import ConfigError, MissingFileError, SealedFileError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.sealing.header import Header, describe, read_header
from mmseg_keyprotect.sealing.recipients import Entry, Recipient
from mmseg_keyprotect.sealing.stream import SealedReader, SealedWriter, VerifiedReader

_COPY = 1 << 20
_MARK = b'MMSEG-KEYPROTECT-SEALED-FILE-'


@contextmanager
def sealed_output(path: str | Path, recipients: Sequence[Recipient], key_id: str = '') -> Iterator[SealedWriter]:
    """Yield a writer for plain bytes. At the end the sealed file ``path`` appears whole; after an error it does not.

    Args:
        path: The file to make.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.

    Raises:
        OutputError: The file exists, its folder does not exist, or it cannot be written.
        SealedFileError: There is no recipient.

    Example:
        >>> with sealed_output('out.sealed', [KeyRecipient(SecretKey.generate())]) as writer:
        ...     writer.write(b'weights')
        7
    """
    with new_file(path) as temporary, open(temporary, 'wb') as file, sealing_into(file, recipients, key_id) as writer:
        yield writer


@contextmanager
def sealing_into(file: BinaryIO, recipients: Sequence[Recipient], key_id: str = '') -> Iterator[SealedWriter]:
    """Yield a writer for plain bytes that writes them sealed into an open binary file.

    After an error the file is left incomplete, and every reader refuses it.

    Args:
        file: An open binary file; it stays open.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.

    Raises:
        SealedFileError: There is no recipient.
    """
    file_key = os.urandom(32)
    writer = SealedWriter(file, Header.new(file_key, recipients, key_id), file_key)
    yield writer
    writer.finish()


def seal_file(source: str | Path, target: str | Path, recipients: Sequence[Recipient], key_id: str = '') -> None:
    """Seal a file, with constant memory whatever its size.

    Args:
        source: The plain file; it stays as it is.
        target: The file to make.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.

    Raises:
        MissingFileError: The source is missing or cannot be read.
        OutputError: The target exists or cannot be written.
        SealedFileError: The source is sealed already, or there is no recipient.

    Example:
        >>> with open('model.pth', 'wb') as file:
        ...     _ = file.write(b'weights')
        >>> key = SecretKey.generate()
        >>> seal_file('model.pth', 'model.sealed.pth', [KeyRecipient(key)], key.key_id)
    """
    with _opened(source) as plain:
        if plain.read(len(_MARK)) == _MARK:
            raise SealedFileError(f'Expected a plain file, but {source} is sealed already. Use it as it is.')
        plain.seek(0)
        with sealed_output(target, recipients, key_id) as writer:
            shutil.copyfileobj(plain, writer, _COPY)


def unseal_file(
    source: str | Path, target: str | Path, key: SecretKey | None = None, passphrase: Passphrase = None
) -> None:
    """Write the plain bytes of a sealed file to disk, where everyone who can read the disk can read them.

    Args:
        source: The sealed file; it stays as it is.
        target: The file to make.
        key: The secret key, if any.
        passphrase: The passphrase, or a function that returns it, if any.

    Raises:
        MissingFileError: The source is missing or cannot be read.
        OutputError: The target exists or cannot be written.
        WrongKeyError: The file is sealed for other recipients.
        SealedFileError: The file is damaged; then nothing is written.

    Example:
        >>> with sealed_output('zeros.sealed', [PassphraseRecipient('correct horse')]) as writer:
        ...     _ = writer.write(bytes(10))
        >>> unseal_file('zeros.sealed', 'zeros', passphrase='correct horse')
        >>> Path('zeros').read_bytes() == bytes(10)
        True
    """
    with (
        new_file(target) as temporary,
        open(temporary, 'wb') as file,
        open_sealed(source, key, passphrase) as reader,  # innermost, so that it verifies before the target appears
    ):
        shutil.copyfileobj(reader, file, _COPY)


def open_sealed(path: str | Path, key: SecretKey | None = None, passphrase: Passphrase = None) -> VerifiedReader:
    """Open a sealed file for reading plain bytes. At the end of a ``with`` block the whole file is verified.

    Args:
        path: The sealed file.
        key: The secret key, if any.
        passphrase: The passphrase, or a function that returns it, if any.

    Returns:
        A buffered reader, which can seek. Its ``raw.size`` is the number of plain bytes.

    Raises:
        MissingFileError: The file is missing or cannot be read.
        WrongKeyError: The file is sealed for other recipients.
        SealedFileError: The file is damaged. Reading a damaged chunk raises it too, and so does the end of the
            ``with`` block.

    Example:
        >>> key = SecretKey.generate()
        >>> with sealed_output('text.sealed', [KeyRecipient(key)]) as writer:
        ...     _ = writer.write(b'plain text')
        >>> with open_sealed('text.sealed', key) as reader:
        ...     reader.read(5)
        b'plain'
    """
    file = _opened(path)
    try:
        return VerifiedReader(SealedReader(file, key, passphrase))
    except BaseException:
        file.close()
        raise


def file_info(path: str | Path) -> dict[str, Any]:
    """Return what a sealed file says about itself without a key. Only opening it proves that this is true.

    Returns:
        ``version``, ``key_id``, ``chunk_size`` and ``sealed_bytes`` (sizes in bytes), and ``recipients``, their names.

    Raises:
        MissingFileError: The file is missing or cannot be read.
        SealedFileError: The file is not a sealed file, or its header is damaged.

    Example:
        >>> with sealed_output('x.sealed', [KeyRecipient(SecretKey.from_bytes(bytes(32)))]) as writer:
        ...     _ = writer.write(bytes(10))
        >>> file_info('x.sealed')['recipients']
        ['key 70a28782cc93edea']
    """
    with _opened(path) as file:
        header, _, _ = read_header(file)
        return dict(
            version=1,
            key_id=header.key_id,
            chunk_size=header.chunk_size,
            sealed_bytes=os.fstat(file.fileno()).st_size,
            recipients=[describe(entry) for entry in header.recipients],
        )


def add_recipients(
    source: str | Path,
    target: str | Path,
    recipients: Sequence[Recipient],
    key: SecretKey | None = None,
    passphrase: Passphrase = None,
) -> None:
    """Copy a sealed file for more recipients. The chunks are copied unchanged.

    Args:
        source: The sealed file; it stays as it is.
        target: The file to make.
        recipients: Who can open the copy too.
        key: A secret key that opens the source, if any.
        passphrase: A passphrase that opens the source, or a function that returns it, if any.

    Raises:
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
    with new_file(target) as temporary, open_sealed(source, key, passphrase) as reader:
        wrapped = [one.wrap(reader.raw.file_key) for one in recipients]
        _copy_with(reader.raw, [*reader.raw.header.recipients, *wrapped], source, temporary)


def remove_recipient(
    source: str | Path, target: str | Path, name: str, key: SecretKey | None = None, passphrase: Passphrase = None
) -> None:
    """Copy a sealed file without one of its recipients. The chunks are copied unchanged.

    The removed recipient can still open older copies, and this copy with a file key that they have stored. Seal the
    plain file anew to exclude them.

    Args:
        source: The sealed file; it stays as it is.
        target: The file to make.
        name: The recipient as :func:`mmseg_keyprotect.sealing.file_info` names it, with or without the type.
        key: A secret key that opens the source, if any.
        passphrase: A passphrase that opens the source, or a function that returns it, if any.

    Raises:
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
    with new_file(target) as temporary, open_sealed(source, key, passphrase) as reader:
        entries = reader.raw.header.recipients
        left = [entry for entry in entries if name not in (describe(entry), describe(entry).split()[-1])]
        if len(left) == len(entries):
            raise ConfigError(
                f'Expected a recipient out of {", ".join(map(describe, entries))}, but got {name!r}. Name one of them.'
            )
        if not left:
            raise SealedFileError('Expected a recipient to be left, but this is the last one. Delete the file instead.')
        _copy_with(reader.raw, left, source, temporary)


def _copy_with(reader: SealedReader, entries: Sequence[Entry], source: str | Path, target: Path) -> None:
    """Write a copy of a sealed file with other recipients."""
    with _opened(source) as old, open(target, 'wb') as new:
        read_header(old)
        new.write(reader.header.with_recipients(entries).to_bytes(reader.file_key))
        shutil.copyfileobj(old, new, _COPY)


def _opened(path: str | Path) -> BufferedReader:
    try:
        return open(path, 'rb')
    except OSError as error:
        raise MissingFileError(
            f'Expected a file to read, but {path}: {error.strerror}. Check the path and its permissions.'
        ) from None
