"""Reading a sealed data set: any file of it at any time, decrypted in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from mmseg_keyprotect.errors import DamagedFileError, MissingFileError, SealedFileError
from mmseg_keyprotect.sealing.reading import SealedReader
from mmseg_keyprotect.shards.engines import in_threads
from mmseg_keyprotect.shards.manifest import KEY, MANIFEST, PLAN, Place, open_key, read_manifest, shard_name
from mmseg_keyprotect.shards.storage import Storage, inside

OPEN_SHARDS = 64
"""Shards that are open at a time."""


class SealedDataSet:
    """The files of a sealed data set. Threads may share one; a process that forks gets readers of its own.

    Args:
        url: The folder, a path or a URL of fsspec.
        opener: ``key``, ``passphrase`` or ``signer``, as for :func:`~mmseg_keyprotect.sealing.open_sealed`.

    Attributes:
        places (dict): The place of every file, by its path below the folder of the data set.
        skipped (dict): Files that were left out when it was sealed, with the reason.

    Raises:
        MissingFileError: There is no sealed data set, or it is not finished.
        WrongKeyError: It is sealed for other recipients.
        SealedFileError: Its key or its manifest is damaged.

    Example:
        >>> from PIL import Image
        >>> for folder in ('images', 'annotations'):
        ...     Path('streets', folder).mkdir(parents=True)
        ...     Image.new('L', (8, 8)).save(f'streets/{folder}/a.png')
        >>> key = SecretKey.generate()
        >>> _ = seal_data_set('streets', 'streets.sealed', [KeyRecipient(key)])
        >>> data = SealedDataSet('streets.sealed', key=key)
        >>> data.read('images/a.png') == Path('streets/images/a.png').read_bytes()
        True
    """

    def __init__(self, url: str | Path, **opener: Any) -> None:
        self.storage = Storage(url)
        self._key = open_key(self.storage, **opener)
        if not self.storage.exists(MANIFEST):
            hint = 'Run the command that seals it again.' if self.storage.exists(PLAN) else 'Use another copy of it.'
            raise MissingFileError(f'Expected a finished data set, but {url} lacks {MANIFEST}. {hint}')
        manifest = read_manifest(self.storage, MANIFEST, self._key, opener.get('signer'))
        self.places = {place.path: place for place in manifest.places}
        self.skipped, self.shards, self._salts = manifest.skipped, len(manifest.shards), manifest.salts
        self._process = os.getpid()
        self._opened = lru_cache(OPEN_SHARDS)(self._open)

    def read(self, path: str) -> bytes:
        """Return the contents of a file.

        Raises:
            MissingFileError: The data set has no such file.
            SealedFileError: The shard is damaged, or is not the one of the manifest.
        """
        place = self.places.get(path)
        if place is None:
            raise MissingFileError(f'Expected a file of {self.storage.url}, but it has no {path!r}. Check the path.')
        if self._process != os.getpid():  # a fork shares the positions of open files, and connections, with its parent
            self._opened.cache_clear()
            self.storage, self._process = Storage(self.storage.url), os.getpid()
        reader, lock = self._opened(place.shard)
        with lock:
            return _read(reader, place)

    def verify(self, jobs: int | None = None) -> Iterator[tuple[int, str]]:
        """Read every shard, and compare every file with the manifest.

        Args:
            jobs: Shards at once. Default: one for each core.

        Yields:
            For each shard how many files it has, and what is wrong with it, or empty text.
        """
        by_shard: dict[int, list[Place]] = {number: [] for number in range(self.shards)}
        for place in self.places.values():
            by_shard[place.shard].append(place)
        yield from in_threads(self._verify_shard, by_shard.items(), jobs)

    def _verify_shard(self, item: tuple[int, list[Place]]) -> tuple[int, str]:
        number, places = item
        try:
            with self._open(number)[0] as reader:
                for place in places:
                    if sha256(_read(reader, place)).hexdigest() != place.sha256:
                        return len(places), f'{shard_name(number)}: {place.path} differs from the manifest'
                reader.read_all_chunks()
        except (SealedFileError, MissingFileError) as error:
            return len(places), f'{shard_name(number)}: {error}'
        return len(places), ''

    def unseal(self, folder: str | Path, jobs: int | None = None) -> Iterator[str]:
        """Write all files into a folder, those that are not there yet.

        Args:
            folder: The folder to make, a path or a URL.
            jobs: Files at once. Default: one for each core.

        Yields:
            The path of every file.

        Raises:
            DamagedFileError: A file there is another one, or a name of the manifest leads out of the folder.
        """
        target = Storage(folder)

        def write(path: str) -> str:
            if not inside(path):
                raise DamagedFileError(f'Expected names of files below {folder}, but got {path!r}. Ask who made it.')
            content = self.read(path)
            if not target.exists(path):
                with target.put(path) as file:
                    file.write(content)
            elif target.read(path) != content:
                raise DamagedFileError(
                    f'Expected no other file {folder}/{path}, but there is one. Name another folder.'
                )
            return path

        yield from in_threads(write, self.places, jobs)

    def _open(self, number: int) -> tuple[SealedReader, Lock]:
        """Open a shard. Its chunks are authenticated, and its salt is that of no other shard."""
        reader = SealedReader(self.storage.open(shard_name(number)), self._key)
        if reader.header.salt.hex() != self._salts[number]:
            reader.close()
            raise _of_another_run(number)
        return reader, Lock()


def _read(reader: SealedReader, place: Place) -> bytes:
    """Return a file of a shard."""
    if place.offset + place.size > reader.size:
        raise _of_another_run(place.shard)
    reader.seek(place.offset)
    return reader.read(place.size) or b''


def _of_another_run(number: int) -> SealedFileError:
    return SealedFileError(
        f'Expected {shard_name(number)} as the manifest describes it, but it is of another run. Use another copy of it.'
    )


@lru_cache(1 << 16)
def sealed_data_set_of(path: str) -> str | None:
    """Return the sealed data set that a path of a file leads into; None if it leads into none.

    Example:
        >>> sealed_data_set_of('photos/a.jpg')
    """
    folder = path.rpartition('/')[0]
    if not folder or folder.endswith(('/', ':')):
        return None
    return folder if is_sealed_data_set(folder) else sealed_data_set_of(folder)


def is_sealed_data_set(url: str | Path) -> bool:
    """Tell whether a folder is a sealed data set.

    Example:
        >>> is_sealed_data_set('nowhere')
        False
    """
    return Storage(url).exists(KEY)
