"""Checking a data set that was encrypted block by block against its source."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from mmseg_keyprotect.errors import DamagedFileError
from mmseg_keyprotect.shards.engines import in_threads
from mmseg_keyprotect.shards.pair_encryptor import PairEncryptor, target_of
from mmseg_keyprotect.shards.pairs import Layout, Pair
from mmseg_keyprotect.shards.plans import pairs_of
from mmseg_keyprotect.shards.storage import Storage
from mmseg_keyprotect.shards.tar import entries_of


def verify_encrypted(work: PairEncryptor, layout: Layout | None = None) -> int:
    """Encrypt every image again, and compare it and its label map with what was written.

    Args:
        work: What encrypted them.
        layout: Where images and label maps lie. Default: it is found by the names of the folders.

    Returns:
        The number of images.

    Raises:
        DamagedFileError: A file is missing or differs.
    """
    listed = work.source.walk()
    found = pairs_of(listed, layout)
    written = _in_archives(work.target) if work.tar else {}

    def same(pair: Pair) -> bool:
        names = [(pair.image, work.encryptor.suffix, 'image'), (pair.label, '.png', 'label')]
        made = work.made(pair, {})
        for (path, suffix, part), content in zip(names, made or (None, None), strict=True):
            if content is None or path is None:
                continue
            name = f'{pair.key}.{part}{suffix}' if work.tar else target_of(path, suffix)
            there = written.get(name) if work.tar else work.target.read(name)
            if there is None or not _same_pixels(there, content):
                raise DamagedFileError(
                    f'Expected {name} in {work.target.url} as it would be encrypted now, but it differs. Remove it, '
                    'and run the command again.'
                )
        return made is not None

    pairs = [pair for pair in found.pairs if pair.image not in found.problems]
    return sum(in_threads(same, pairs))


def _in_archives(target: Storage) -> dict[str, bytes]:
    """Return the members of all archives, by name."""
    found: dict[str, bytes] = {}
    for name in sorted(target.names()):
        if name.endswith('.tar'):
            with target.open(name) as file:
                for entry in list(entries_of(file, name)):
                    file.seek(entry.offset)
                    found[entry.path] = file.read(entry.size)
    return found


def _same_pixels(one: bytes, other: bytes) -> bool:
    if one == other:
        return True
    try:
        with Image.open(io.BytesIO(one)) as a, Image.open(io.BytesIO(other)) as b:
            return bool(np.array_equal(np.asarray(a), np.asarray(b)))
    except (OSError, SyntaxError):  # Pillow's errors for a damaged PNG
        return False
