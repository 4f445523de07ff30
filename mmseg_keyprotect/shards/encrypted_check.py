"""Checking a data set that was encrypted block by block against its source."""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmseg_keyprotect.errors import DamagedFileError, KeyProtectError
from mmseg_keyprotect.images import read_encrypted
from mmseg_keyprotect.shards.engines import in_threads
from mmseg_keyprotect.shards.pair_encryptor import PairEncryptor
from mmseg_keyprotect.shards.pairs import Layout, Pair
from mmseg_keyprotect.shards.plans import pairs_of
from mmseg_keyprotect.shards.storage import Storage
from mmseg_keyprotect.shards.tar import entries_of


class _Member(NamedTuple):
    archive: str
    offset: int
    size: int


def verify_encrypted(work: PairEncryptor, layout: Layout | None = None) -> int:
    """Encrypt every image again, and compare it, its note and its label map with what was written.

    Args:
        work: What encrypted them.
        layout: Where images and label maps lie. Default: it is found by the names of the folders.

    Returns:
        The number of images.

    Raises:
        DamagedFileError: A file is missing or differs.
    """
    files = work.source.walk()
    listed = {file.path: file for file in files}
    found = pairs_of(files, layout, dots=not work.tar)
    members = _members(work.target) if work.tar else None

    def same(pair: Pair) -> bool:
        made = work.made(pair, listed, {})
        if made is None:
            return False
        for name, content, alike in zip(work.members_of(pair), made, (_same_image, _same_label), strict=True):
            if name is None or content is None:
                continue
            there = _content(work.target, name, members)
            if there is None or not (there == content or alike(there, content)):
                raise DamagedFileError(
                    f'Expected {name} in {work.target.url} as it would be encrypted now, but it differs. Remove it, '
                    'and run the command again.'
                )
        return True

    return sum(in_threads(same, found.pairs))


def _members(target: Storage) -> dict[str, _Member]:
    """Return where the members of all archives are, by name."""
    found: dict[str, _Member] = {}
    for name in sorted(target.names()):
        if name.endswith('.tar'):
            with target.open(name) as file:
                found |= {entry.path: _Member(name, entry.offset, entry.size) for entry in entries_of(file, name)}
    return found


def _content(target: Storage, name: str, members: dict[str, _Member] | None) -> bytes | None:
    """Return the contents of a file of the folder, or of a member of an archive; None where there is none."""
    if members is None:
        return target.read(name)
    if (member := members.get(name)) is None:
        return None
    with target.open(member.archive) as file:
        file.seek(member.offset)
        return file.read(member.size)


def _same_image(one: bytes, other: bytes) -> bool:
    """Compare pixels and notes: another version of Pillow may compress pixels in another way."""
    try:
        (a, note), (b, other_note) = (read_encrypted(io.BytesIO(content)) for content in (one, other))
    except KeyProtectError:
        return False
    return note == other_note and np.array_equal(a, b)


def _same_label(one: bytes, other: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(one)) as a, Image.open(io.BytesIO(other)) as b:
            return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    except (OSError, SyntaxError):  # Pillow's errors for a damaged PNG
        return False
