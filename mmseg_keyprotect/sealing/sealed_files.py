"""Sealing files and opening sealed files on disk (docs/spec.md, section 9)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import BinaryIO

from mmseg_keyprotect.errors import MissingFileError, SealedFileError, SignatureError, WrongKeyError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing.entries import Opener, Recipient
from mmseg_keyprotect.sealing.header import CHUNK_SIZE, Header
from mmseg_keyprotect.sealing.parsing import read_header
from mmseg_keyprotect.sealing.reading import SealedReader, VerifiedReader
from mmseg_keyprotect.sealing.signatures import Signer, publisher_of
from mmseg_keyprotect.sealing.writing import SealedWriter

PUBLISHER_VARIABLE = 'KEYPROTECT_PUBLISHER'

COPY_BYTES = 1 << 20
"""Files are copied in pieces of 1 MiB."""

_MARK = b'MMSEG-KEYPROTECT-SEALED-FILE-'


@contextmanager
def sealed_output(
    path: str | Path, recipients: Sequence[Recipient], key_id: str = '', signer: Signer | None = None
) -> Iterator[SealedWriter]:
    """Yield a writer for plain bytes. At the end the sealed file ``path`` appears whole; after an error it does not.

    Args:
        path: The file to make.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.
        signer: Who signs it, and with which licence; by default nobody.

    Raises:
        OutputError: The file exists, its folder does not exist, or it cannot be written.
        SealedFileError: There is no recipient.

    Example:
        >>> with sealed_output('out.sealed', [KeyRecipient(SecretKey.generate())]) as writer:
        ...     writer.write(b'weights')
        7
    """
    with (
        new_file(path) as temporary,
        open(temporary, 'wb') as file,
        sealing_into(file, recipients, key_id, signer) as writer,
    ):
        yield writer


@contextmanager
def sealing_into(
    file: BinaryIO,
    recipients: Sequence[Recipient],
    key_id: str = '',
    signer: Signer | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> Iterator[SealedWriter]:
    """Yield a writer for plain bytes that writes them sealed into an open binary file.

    After an error the file is left incomplete, and every reader refuses it.

    Args:
        file: An open binary file; it stays open. For a signed file it must be able to seek.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.
        signer: Who signs it, and with which licence; by default nobody.
        chunk_size: Plain bytes that are decrypted together: few where small parts are read at random.

    Raises:
        SealedFileError: There is no recipient.

    Example:
        >>> with open('into.sealed', 'wb') as file, sealing_into(file, [PassphraseRecipient('word')]) as writer:
        ...     writer.write(b'weights')
        7
    """
    file_key = os.urandom(32)
    header = Header.new(file_key, recipients, key_id, signer, chunk_size)
    writer = SealedWriter(file, header, file_key, signer)
    del file_key  # an exception from the block shows the variables of this function
    yield writer
    writer.finish()


def seal_file(
    source: str | Path,
    target: str | Path,
    recipients: Sequence[Recipient],
    key_id: str = '',
    signer: Signer | None = None,
) -> None:
    """Seal a file, with constant memory whatever its size.

    Args:
        source: The plain file; it stays as it is.
        target: The file to make.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.
        signer: Who signs it, and with which licence; by default nobody.

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
    with open_file(source) as plain:
        if plain.read(len(_MARK)) == _MARK:
            raise SealedFileError(f'Expected a plain file, but {source} is sealed already. Use it as it is.')
        plain.seek(0)
        with sealed_output(target, recipients, key_id, signer) as writer:
            shutil.copyfileobj(plain, writer, COPY_BYTES)


@without_locals
def open_sealed(
    path: str | Path | BytesIO,
    key: SecretKey | Opener | None = None,
    passphrase: Passphrase = None,
    *,
    own: bool = False,
    publisher: str | None = None,
    signer: Signer | None = None,
) -> VerifiedReader:
    """Open a sealed file for reading plain bytes. At the end of a ``with`` block the whole file is verified.

    Args:
        path: The sealed file; or its bytes as an ``io.BytesIO``, where it is no file on this machine.
        key: The secret key or another identity, if any.
        passphrase: The passphrase, or a function that returns it, if any.
        own: Whether the file must be sealed under ``key`` itself. Anybody who knows the public text of a recipient can
            make a file that opens as theirs.
        publisher: The text of the publisher who must have signed the file. Default: that of the environment variable
            ``KEYPROTECT_PUBLISHER``, else anybody or nobody.
        signer: Who opens it, where that is the publisher: their own licence does not count for them.

    Returns:
        A buffered reader, which can seek. Its ``raw.size`` is the number of plain bytes.

    Raises:
        MissingFileError: The file is missing or cannot be read.
        KeyFileError: ``publisher`` is no text of a publisher.
        SignatureError: The signature is of another file, of another publisher, or missing where one is required.
        LicenceError: The licence has not begun, has ended, or is for another device.
        WrongKeyError: The file is sealed for other recipients, or with ``own`` not under ``key``.
        SealedFileError: The file is damaged, or names ``key``, which did not seal it. Reading a damaged chunk raises
            it too, and so does the end of the ``with`` block.

    Example:
        >>> key = SecretKey.generate()
        >>> with sealed_output('text.sealed', [KeyRecipient(key)]) as writer:
        ...     _ = writer.write(b'plain text')
        >>> with open_sealed('text.sealed', key) as reader:
        ...     reader.read(5)
        b'plain'
    """
    # the caller's stays open; BytesIO shares the bytes
    file = BytesIO(path.getvalue()) if isinstance(path, BytesIO) else open_file(path)
    try:
        licence = signer is None or not signed_by(file, signer)
        reader = SealedReader(file, key, passphrase, required_publisher(publisher), licence)
        if own and reader.opened_as != 'key':
            raise WrongKeyError(
                f'Expected a file that is sealed under the key itself, but got one that opens as {reader.opened_as}: '
                'anybody who knows the recipient can have made it. Ask who made it.'
            )
        return VerifiedReader(reader)
    except BaseException:
        file.close()
        raise


def signed_by(file: BufferedReader | BytesIO, signer: Signer) -> bool:
    """Tell whether a sealed file, open at its beginning, names somebody as its publisher."""
    signature = read_header(file)[0].signature
    file.seek(0)
    return signature is not None and signature.publisher_text == publisher_of(signer.key)


def required_publisher(publisher: str | None = None) -> str:
    """Return the text of the publisher who must have signed; by default that of the environment, else empty text.

    Example:
        >>> required_publisher()
        ''
    """
    return publisher or os.environ.get(PUBLISHER_VARIABLE, '')


def refuse_plain(path: str | Path) -> None:
    """Refuse a plain file where the environment requires a publisher, since nobody can have signed it.

    Args:
        path: The plain file, for the message.

    Raises:
        SignatureError: ``KEYPROTECT_PUBLISHER`` is set.

    Example:
        >>> refuse_plain('weights.pth')
    """
    if required_publisher():
        raise SignatureError(
            f'Expected a sealed file that the publisher of {PUBLISHER_VARIABLE} signed, but {path} is a plain one. Ask '
            f'for a signed copy, or unset {PUBLISHER_VARIABLE}.'
        )


def is_sealed_file(path: str | Path) -> bool:
    """Tell whether a file begins as sealed files of any version do. A file that cannot be read does not.

    Example:
        >>> with sealed_output('begins.sealed', [PassphraseRecipient('word')]) as writer:
        ...     _ = writer.write(b'weights')
        >>> is_sealed_file('begins.sealed'), is_sealed_file('none.sealed')
        (True, False)
    """
    try:
        with open(path, 'rb') as file:
            return file.read(len(_MARK)) == _MARK
    except (OSError, ValueError):  # ValueError: a path with NUL
        return False


def open_file(path: str | Path) -> BufferedReader:
    """Open a file for reading bytes.

    Raises:
        MissingFileError: The file is missing or cannot be read.
    """
    try:
        return open(path, 'rb')
    except (OSError, ValueError) as error:  # ValueError: a path with NUL
        raise MissingFileError(
            f'Expected a file to read, but {str(path)!r}: {getattr(error, "strerror", error)}. Check the path and its '
            'permissions.'
        ) from None
