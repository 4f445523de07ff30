"""The key and the manifest of a sealed data set.

``key.sealed`` holds the key of the data set, 32 bytes, for its recipients: who may open the data set is changed by
``keyprotect recipients`` on that small file alone. The manifest and the shards are sealed with this key.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, NamedTuple

from mmseg_keyprotect.errors import SealedFileError, UnsupportedSpecError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing import KeyRecipient, Recipient, Signer, open_sealed
from mmseg_keyprotect.sealing.sealed_files import sealing_into
from mmseg_keyprotect.shards.storage import SourceFile, Storage

KEY = 'key.sealed'
MANIFEST = 'manifest.sealed'
PLAN = 'unfinished.sealed'
"""The manifest of a data set that is not finished: it holds the plan."""

FORMAT = 'mmseg-keyprotect data set 1'


class Place(NamedTuple):
    """A file in the shards.

    Args:
        path: Its path below the folder of the data set.
        size: In bytes.
        sha256: In lowercase hex.
        shard: The number of the shard.
        offset: Its first byte in the plain bytes of the shard.
    """

    path: str
    size: int
    sha256: str
    shard: int
    offset: int


@dataclass
class Manifest:
    """What a data set holds.

    Args:
        shards: The files of every shard.
        source: What the source was when the plan was made.
        salts: The salt of every shard, in hex, which tells it from shards of other runs; empty in a plan.
        places: Every file that is in a shard; empty in a plan.
        skipped: Files that were left out by choice, with the reason.
    """

    shards: list[list[str]]
    source: list[SourceFile]
    salts: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def shard_name(number: int) -> str:
    """Return the name of a shard.

    Example:
        >>> shard_name(3)
        'shard-000003.tar.sealed'
    """
    return f'shard-{number:06d}.tar.sealed'


@without_locals
def make_key(
    storage: Storage, recipients: Sequence[Recipient], key_id: str = '', signer: Signer | None = None
) -> SecretKey:
    """Make the key of a new data set, and seal it into a file of the data set.

    Args:
        storage: The data set.
        recipients: Who can open it.
        key_id: The key id that the file names, or empty text.
        signer: Who signs it, and with which licence.

    Raises:
        OutputError: Another run has made it meanwhile, or it cannot be written.
    """
    secret = os.urandom(32)
    with storage.put(KEY, new=True) as file, sealing_into(file, recipients, key_id, signer) as writer:
        writer.write(secret)
    return SecretKey.from_bytes(secret)


@without_locals
def open_key(storage: Storage, **opener: Any) -> SecretKey:
    """Return the key of a data set.

    Args:
        storage: The data set.
        opener: ``key``, ``passphrase`` or ``signer``, as for :func:`~mmseg_keyprotect.sealing.open_sealed`.

    Raises:
        MissingFileError: There is no sealed data set.
        WrongKeyError: It is sealed for other recipients.
        SealedFileError: The file is damaged, or holds something else.
    """
    with open_sealed(BytesIO(storage.read(KEY)), **opener) as reader:
        secret = reader.read()
    if len(secret) != 32:
        raise SealedFileError(
            f'Expected the key of a sealed data set, but {storage.url}/{KEY} holds something else. Ask who made it.'
        )
    return SecretKey.from_bytes(secret)


def write_manifest(
    storage: Storage, name: str, manifest: Manifest, key: SecretKey, signer: Signer | None = None
) -> None:
    """Seal a manifest into a file of the data set.

    Args:
        storage: The data set.
        name: The name of the file.
        manifest: What it holds.
        key: The key of the data set.
        signer: Who signs it, and with which licence.
    """
    text = json.dumps(dict(format=FORMAT, kind=name, **vars(manifest)), separators=(',', ':'))
    with storage.put(name) as file, sealing_into(file, [KeyRecipient(key)], key.key_id, signer) as writer:
        writer.write(text.encode())


def read_manifest(storage: Storage, name: str, key: SecretKey, signer: Signer | None = None) -> Manifest:
    """Open a manifest.

    Args:
        storage: The data set.
        name: The name of the file.
        key: The key of the data set.
        signer: As for :func:`~mmseg_keyprotect.sealing.open_sealed`.

    Raises:
        MissingFileError: There is no such file.
        WrongKeyError: It belongs to another data set.
        SealedFileError: It is damaged, or no manifest.
        UnsupportedSpecError: It has a newer version.
    """
    with open_sealed(BytesIO(storage.read(name)), key, own=True, signer=signer) as reader:
        text = reader.read()
    try:
        found = json.loads(text)
        version = found.pop('format')
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _no_manifest(storage, name) from None
    if version != FORMAT:
        raise UnsupportedSpecError(f'Expected {FORMAT!r}, but {storage.url}/{name} is {version!r}. Update the package.')
    try:
        if found.pop('kind') != name:
            raise ValueError
        found['places'] = [Place(*one) for one in found['places']]
        found['source'] = [SourceFile(*one) for one in found['source']]
        manifest = Manifest(**found)
        _check(manifest, finished=name == MANIFEST)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _no_manifest(storage, name) from None
    return manifest


def _check(manifest: Manifest, finished: bool) -> None:
    """Check the types and the numbers of a manifest: whoever knows a recipient can have made it.

    Raises:
        ValueError: Something is wrong.
        TypeError: Something is of another type.
    """
    shards = [set(shard) for shard in manifest.shards]
    for text in (*(name for shard in shards for name in shard), *manifest.skipped, *manifest.skipped.values()):
        if type(text) is not str:
            raise TypeError
    for place in manifest.places:
        if any(type(number) is not int or number < 0 for number in (place.size, place.shard, place.offset)):
            raise TypeError
        if place.shard >= len(shards) or place.path not in shards[place.shard]:
            raise ValueError
    if finished and (type(manifest.salts) is not list or len(manifest.salts) != len(shards)):
        raise ValueError
    if finished and set().union(*shards) - {place.path for place in manifest.places} - manifest.skipped.keys():
        raise ValueError


def _no_manifest(storage: Storage, name: str) -> SealedFileError:
    return SealedFileError(
        f'Expected the manifest of a sealed data set, but {storage.url}/{name} holds something else. Ask who made it.'
    )
