"""Encrypt the images of a data set block by block, for training where no key is; label maps are extended with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.errors import ConfigError, OutputError, WrongKeyError
from mmseg_keyprotect.shards.engines import engine_of
from mmseg_keyprotect.shards.pair_encryptor import PairEncryptor, tar_name
from mmseg_keyprotect.shards.pairs import Layout, Pair, Pairs, detect_layout
from mmseg_keyprotect.shards.plans import (
    LEFT_OUT,
    SHARD_BYTES,
    Shard,
    Summary,
    pairs_of,
    plan_shards,
    refuse_changes,
    refuse_others,
    refuse_problems,
    two_folders,
)
from mmseg_keyprotect.shards.storage import SourceFile, Storage
from mmseg_keyprotect.shards.tar import entries_of

NOTE = 'encrypted.json'
"""The public note of an encrypted data set: key id, cipher, options, and what the source was."""


def encrypt_data_set(
    source: str | Path,
    target: str | Path,
    key: Any = None,
    cipher: CipherConfig = DEFAULT_CIPHER,
    *,
    resize: tuple[int, int] | None = None,
    layout: Layout | None = None,
    form: str = 'folder',
    skip_bad: bool = False,
    shard_bytes: int = SHARD_BYTES,
    jobs: int | None = None,
    engine: str = 'processes',
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Encrypt the images of a data set block by block. An interrupted command is repeated, and goes on where it was.

    Args:
        source: The folder of the data set, a path or a URL of fsspec. Its files stay as they are.
        target: The folder to make, a path or a URL.
        key: The configuration of the key, as for :func:`~mmseg_keyprotect.keys.providers.build_key`.
        cipher: The configuration of the cipher.
        resize: (width, height) in pixels: images bilinear, label maps by the nearest pixel. Default: as they are. What
            evaluates a model on the data set has the label maps in this size.
        layout: Where images and label maps lie. Default: it is found by the names of the folders.
        form: ``folder``, the same folders with PNG files, or ``webdataset``, tar archives whose members are
            ``NAME.image.png`` and ``NAME.label.png``.
        skip_bad: Whether images and label maps with problems are left out. By default they are an error.
        shard_bytes: Size of the plain files of an archive.
        jobs: Images, or archives, at once. Default: one for each core.
        engine: ``processes``, ``threads`` or ``ray``.
        progress: Is told how many images are done, and of how many.

    Raises:
        MissingFileError: The source is no folder.
        ConfigError: The layout is unknown, the source has changed since an earlier run began, source and target lie
            in one another, or two files would get one name.
        ImageFormatError: Images and label maps do not fit, or cannot be encrypted.
        WrongKeyError: An earlier run had another key, cipher or size.
        OutputError: The target holds something else, or cannot be written.

    Example:
        >>> from PIL import Image
        >>> for folder in ('images', 'annotations'):
        ...     Path('roads', folder).mkdir(parents=True)
        ...     Image.new('L', (9, 8)).save(f'roads/{folder}/a.png')
        >>> encrypt_data_set('roads', 'roads_encrypted', SecretKey.generate()).files
        1
        >>> Image.open('roads_encrypted/annotations/a.png').size
        (12, 8)
    """
    plain, made = two_folders(source, target)
    listed = plain.walk()
    layout = layout or detect_layout(file.path for file in listed)
    tar = form == 'webdataset'
    found = pairs_of(listed, layout, dots=not tar)
    refuse_problems(found.problems, skip_bad)
    work = PairEncryptor(plain, made, key, cipher, resize, tar, skip_bad)
    _refuse_twins(work, found.pairs)
    facts = dict(key_id=work.encryptor.cipher.key_id, cipher=work.encryptor.cipher.name, resize=resize, form=form)
    _begin(made, dict(facts, layout=asdict(layout), shard_bytes=shard_bytes if tar else None), listed, plain.url)
    # in a folder each pair is done by itself: plan_shards fills a shard of no bytes with one item
    shards = list(plan_shards(found._replace(others=[]), listed, shard_bytes if tar else 0))
    there = made.names() if tar else set()
    finished, missing = list[Shard](), list[Shard]()
    for shard in shards:
        (finished if tar_name(shard.number) in there else missing).append(shard)
    problems = _left_out(made, finished, work)
    now, done = 0, sum(len(shard.pairs) for shard in finished)
    refuse_problems(problems, skip_bad)
    run = engine_of(engine, local=plain.local and made.local)
    for number, encrypted, bad in run(work, missing, jobs):
        done += len(shards[number].pairs)
        problems |= bad
        now += encrypted
        if progress is not None:
            progress(done, len(found.pairs))
    refuse_problems(problems, skip_bad)
    refuse_changes(listed, plain.walk(), plain.url)
    lists, others = _lists(found)
    for path in lists:
        if not made.exists(path):
            with made.put(path) as file:
                file.write(plain.read(path))
    files = len(found.pairs) - len(problems)
    return Summary(files, now, files - now, {**found.problems, **problems}, others)


def _lists(found: Pairs) -> tuple[list[str], list[str]]:
    """Return the text files, such as lists of a split, and all other files without images and label maps."""
    return (
        [path for path in found.others if path.endswith('.txt')],
        [path for path in found.others if not path.endswith('.txt')],
    )


def _refuse_twins(work: PairEncryptor, pairs: list[Pair]) -> None:
    """Refuse files that would be written to one name.

    Raises:
        ConfigError: There are some.
    """
    seen: dict[str, str] = {}
    for pair in pairs:
        for path, name in zip(pair[:2], work.members_of(pair), strict=True):
            if path is None or name is None:
                continue
            if (twin := seen.setdefault(name, path)) != path:
                raise ConfigError(
                    f'Expected a name for each file, but {twin} and {path} would both become {name}. Move images and '
                    'label maps into folders of their own.'
                )


def _left_out(made: Storage, finished: list[Shard], work: PairEncryptor) -> dict[str, str]:
    """Return the images that an earlier run left out of its archives."""
    found: dict[str, str] = {}
    for shard in finished:
        with made.open(tar_name(shard.number)) as file:
            there = {entry.path for entry in entries_of(file, tar_name(shard.number))}
        found |= {pair.image: LEFT_OUT for pair in shard.pairs if work.members_of(pair)[0] not in there}
    return found


def _begin(made: Storage, facts: dict[str, Any], listed: list[SourceFile], name: str) -> None:
    """Write the note of the data set, or compare with that of an earlier run."""
    facts = json.loads(json.dumps(facts))  # as they are read again
    names = made.names()
    refuse_others(made, names, NOTE)
    if NOTE not in names:
        with made.put(NOTE) as file:
            file.write(json.dumps(dict(facts, source=listed)).encode())
        return
    try:
        note = json.loads(made.read(NOTE))
        before = [SourceFile(*one) for one in note.pop('source')]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OutputError(
            f'Expected the note of an encrypted data set, but {made.url}/{NOTE} is none. Name another folder with -o.'
        ) from None
    for fact, value in facts.items():
        if note.get(fact) != value:
            raise WrongKeyError(
                f'Expected the {fact} that {made.url} was begun with, {note.get(fact)}, but got {value}. Repeat the '
                'options, or name another folder with -o.'
            )
    refuse_changes(before, listed, name)
