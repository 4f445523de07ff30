"""Whole folders in sealed files: a tar archive that goes straight into the sealed file, and out of it again."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from mmseg_keyprotect.errors import MissingDependencyError, MissingFileError, SealedFileError
from mmseg_keyprotect.sealing.entries import Recipient
from mmseg_keyprotect.sealing.reading import VerifiedReader
from mmseg_keyprotect.sealing.sealed_files import sealed_output
from mmseg_keyprotect.sealing.signatures import Signer

_COMMENT = 'mmseg-keyprotect folder'
"""In the first header of the archive, so that an archive which somebody sealed as a file stays a file."""


def seal_folder(
    source: str | Path,
    target: str | Path,
    recipients: Sequence[Recipient],
    key_id: str = '',
    signer: Signer | None = None,
) -> None:
    """Seal a folder with all that is in it, with constant memory whatever its size.

    Args:
        source: The folder; it stays as it is. Names, contents, and whether a file can be executed are kept.
        target: The file to make, outside of the folder.
        recipients: Who can open it; at least one.
        key_id: The key id that the header names, or empty text.
        signer: Who signs it, and with which licence; by default nobody.

    Raises:
        MissingFileError: The folder does not exist.
        SealedFileError: It holds a link, something else that is neither file nor folder, or a folder that cannot be
            read; or there is no recipient.
        OutputError: The target exists or cannot be written.

    Example:
        >>> Path('model').mkdir()
        >>> _ = Path('model/config.json').write_text('{}')
        >>> key = SecretKey.generate()
        >>> seal_folder('model', 'model.sealed', [KeyRecipient(key)])
        >>> unseal_file('model.sealed', 'again', key)
        >>> Path('again/config.json').read_text()
        '{}'
    """
    source = Path(source)
    if not source.is_dir():
        raise MissingFileError(f'Expected a folder, but {source} is none. Check the path.')
    parts = sorted(_contents(source))
    for part in parts:
        if part.is_symlink() or not (part.is_file() or part.is_dir()):
            raise SealedFileError(
                f'Expected a folder of files and folders, but {part} is a link or a device. Take it out.'
            )
    comment = dict(comment=_COMMENT)
    with (
        sealed_output(target, recipients, key_id, signer) as writer,
        # hard links are written as files
        tarfile.open(
            fileobj=writer, mode='w|', format=tarfile.PAX_FORMAT, pax_headers=comment, dereference=True
        ) as archive,
    ):
        for part in (source, *parts):  # the folder itself too, since an archive of nothing has no header
            archive.add(part, part.relative_to(source).as_posix(), recursive=False, filter=_without_owner)


def holds_folder(reader: VerifiedReader) -> bool:
    """Tell whether the plain bytes of a sealed file are those of a folder. The reader is at its start, and stays there.

    Example:
        >>> with sealed_output('file.sealed', [PassphraseRecipient('correct horse')]) as writer:
        ...     _ = writer.write(b'weights')
        >>> with open_sealed('file.sealed', passphrase='correct horse') as reader:
        ...     holds_folder(reader)
        False
    """
    head = reader.read(2 * tarfile.BLOCKSIZE)
    reader.seek(0)
    first, comment = head[: tarfile.BLOCKSIZE], head[tarfile.BLOCKSIZE :]
    return first[257:262] == b'ustar' and first[156:157] == tarfile.XGLTYPE and _COMMENT.encode() in comment


def extract_folder(reader: VerifiedReader, target: Path) -> None:
    """Write the folder that a sealed file holds into an empty folder.

    Args:
        reader: At its start.
        target: The folder.

    Raises:
        SealedFileError: The archive is damaged, or holds a name that leads out of the folder, that is there twice, or
            that this system cannot have.
        MissingDependencyError: This version of Python cannot check the names of an archive.
    """
    if not hasattr(tarfile, 'data_filter'):
        raise MissingDependencyError(
            'Expected Python 3.10.12, 3.11.4 or later to unseal a folder, but got an older one. Update it.'
        )
    try:
        with tarfile.open(fileobj=reader, mode='r|') as archive:
            for member in archive:
                _extract(archive, member, target)
    except (tarfile.TarError, ValueError) as error:  # ValueError: a null byte in a name
        raise SealedFileError(
            f'Expected a sealed folder, but got an archive that is none: {error}. Ask who made it.'
        ) from None


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one member of an archive, which may be hostile, into a folder."""
    safe = tarfile.data_filter(member, str(folder))  # refuses absolute names, those that lead out, and devices
    path = folder / safe.name
    if safe.isdir():
        path.mkdir(parents=True, exist_ok=True)
    elif safe.isfile():
        if safe.issparse() or path.exists():  # a sparse file of a few bytes can fill the disk
            raise tarfile.TarError(f'{safe.name!r} is sparse, or there twice')
        path.parent.mkdir(parents=True, exist_ok=True)
        content = archive.extractfile(safe)
        assert content is not None
        with open(path, 'xb') as file:
            shutil.copyfileobj(content, file)
        path.chmod((safe.mode or 0o644) & 0o777)
    else:
        raise tarfile.TarError(f'{safe.name!r} is a link')


def _contents(folder: Path) -> list[Path]:
    """Return everything in a folder, at any depth.

    Raises:
        SealedFileError: A folder cannot be read; its contents would be missing without a word.
    """

    def refuse(error: OSError) -> NoReturn:
        raise SealedFileError(
            f'Expected folders that can be read, but {error.filename}: {error.strerror}. Change its permissions.'
        ) from None

    return [Path(root, name) for root, dirs, files in os.walk(folder, onerror=refuse) for name in (*dirs, *files)]


def _without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ''
    return member
