"""Sealing, opening and describing files on disk."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from mmseg_keyprotect.errors import ConfigError, SealedFileError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.files import Passphrase
from mmseg_keyprotect.sealing.header import Header, describe, read_header
from mmseg_keyprotect.sealing.recipients import Recipient
from mmseg_keyprotect.sealing.stream import SealedReader, SealedWriter

_COPY = 1 << 20


@contextmanager
def sealed_output(path: str | Path, recipients: Sequence[Recipient], key_id: str = '') -> Iterator[SealedWriter]:
    """Give a file for plain bytes, which becomes the sealed file ``path`` at the end, or vanishes with an error.

    Raises:
        ConfigError: The file exists, or its folder does not.
        SealedFileError: There is no recipient.
    """
    with new_file(path) as temporary, open(temporary, 'wb') as file, sealing_into(file, recipients, key_id) as writer:
        yield writer


@contextmanager
def sealing_into(file: BinaryIO, recipients: Sequence[Recipient], key_id: str = '') -> Iterator[SealedWriter]:
    """Give a file for plain bytes, which writes them sealed into an open binary file."""
    file_key = os.urandom(32)
    writer = SealedWriter(file, Header.new(file_key, recipients, key_id), file_key)
    yield writer
    writer.finish()


def seal_file(source: str | Path, target: str | Path, recipients: Sequence[Recipient], key_id: str = '') -> None:
    """Seal a file, with constant memory whatever its size.

    Args:
        source: The plain file; it stays.
        target: The file to make.
        recipients: Who can open it.
        key_id: To name in the header.

    Raises:
        ConfigError: The source is missing, or the target exists.
        SealedFileError: The source is sealed already, or there is no recipient.
    """
    with _opened(source) as plain:
        if plain.read(len(b'MMSEG-KEYPROTECT-SEALED-FILE-')) == b'MMSEG-KEYPROTECT-SEALED-FILE-':
            raise SealedFileError(f'Expected a plain file, but {source} is sealed already.')
        plain.seek(0)
        with sealed_output(target, recipients, key_id) as writer:
            shutil.copyfileobj(plain, writer, _COPY)


def unseal_file(
    source: str | Path, target: str | Path, key: SecretKey | None = None, passphrase: Passphrase = None
) -> None:
    """Write the plain bytes of a sealed file to disk. Whoever reads the disk then has them.

    Raises:
        ConfigError: The source is missing, or the target exists.
        WrongKeyError: The file is for other keys.
        SealedFileError: It is damaged; nothing is written then.
    """
    with open_sealed(source, key, passphrase) as reader, new_file(target) as temporary:
        with open(temporary, 'wb') as file:
            shutil.copyfileobj(reader, file, _COPY)
        reader.raw.read_all_chunks()


def open_sealed(path: str | Path, key: SecretKey | None = None, passphrase: Passphrase = None) -> io.BufferedReader:
    """Open a sealed file for reading plain bytes; ``.raw`` is the :class:`SealedReader`.

    Raises:
        ConfigError: There is no such file.
        WrongKeyError: It is for other keys.
        SealedFileError: It is damaged.
    """
    file = _opened(path)
    try:
        return io.BufferedReader(SealedReader(file, key, passphrase), 1 << 12)  # more is copied twice
    except BaseException:
        file.close()
        raise


def file_info(path: str | Path) -> dict[str, Any]:
    """Return what a sealed file says without a key: sizes, key id, recipients. Only its key shows that this is true."""
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
    """Copy a sealed file for more recipients. The chunks are copied as they are.

    Raises:
        WrongKeyError: ``key`` or ``passphrase`` does not open it.
        ConfigError: The source is missing, or the target exists.
        SealedFileError: It is damaged.
    """
    with open_sealed(source, key, passphrase) as reader:
        raw = reader.raw
        entries = [*raw.header.recipients, *(one.wrap(raw.file_key) for one in recipients)]
        _copy_with(raw, entries, source, target)


def remove_recipient(
    source: str | Path, target: str | Path, name: str, key: SecretKey | None = None, passphrase: Passphrase = None
) -> None:
    """Copy a sealed file without a recipient, named as ``info`` names it.

    Copies that he has, and a file key that he has kept, still work: seal the model anew to shut him out.

    Raises:
        ConfigError: There is no such recipient.
        WrongKeyError: ``key`` or ``passphrase`` does not open it.
        SealedFileError: It is damaged, or that is the last recipient.
    """
    with open_sealed(source, key, passphrase) as reader:
        entries = reader.raw.header.recipients
        left = [entry for entry in entries if name not in (describe(entry), describe(entry).split()[-1])]
        if len(left) == len(entries):
            raise ConfigError(
                f'Expected a recipient out of {", ".join(map(describe, entries))}, but got {name!r}. Name one of them.'
            )
        if not left:
            raise SealedFileError('Expected a recipient to be left, but this is the last one. Delete the file instead.')
        _copy_with(reader.raw, left, source, target)


def _copy_with(reader: SealedReader, entries: Sequence[dict], source: str | Path, target: str | Path) -> None:
    reader.read_all_chunks()  # so that damage is not handed on
    with _opened(source) as old, new_file(target) as temporary, open(temporary, 'wb') as new:
        read_header(old)
        new.write(reader.header.with_recipients(entries).to_bytes(reader.file_key))
        shutil.copyfileobj(old, new, _COPY)


def _opened(path: str | Path) -> io.BufferedReader:
    try:
        return open(path, 'rb')
    except OSError as error:
        raise ConfigError(f'Expected a file to read, but {path}: {error.strerror}. Check the path.') from None
