"""Seal a data set into shards, and take it out again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from mmseg_keyprotect.errors import ConfigError, DamagedFileError, ImageFormatError
from mmseg_keyprotect.keys import SecretKey, seal_key
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.sealing import KeyRecipient, Recipient, Signer
from mmseg_keyprotect.sealing.entries import Opener
from mmseg_keyprotect.sealing.reading import SealedReader
from mmseg_keyprotect.sealing.sealed_files import sealing_into
from mmseg_keyprotect.shards.engines import engine_of
from mmseg_keyprotect.shards.manifest import (
    KEY,
    MANIFEST,
    PLAN,
    Manifest,
    Place,
    make_key,
    open_key,
    read_manifest,
    shard_name,
    write_manifest,
)
from mmseg_keyprotect.shards.pair_checks import check_pair, check_pixels
from mmseg_keyprotect.shards.pairs import Layout
from mmseg_keyprotect.shards.plans import (
    LEFT_OUT,
    SHARD_BYTES,
    Shard,
    Summary,
    pairs_of,
    plan_shards,
    put_without_problems,
    refuse_changes,
    refuse_others,
    refuse_problems,
    two_folders,
)
from mmseg_keyprotect.shards.storage import Storage
from mmseg_keyprotect.shards.tar import TarWriter, entries_of

CHUNK_SIZE = 1 << 14
"""Bytes of a shard that are decrypted together: a small image should cost little more than its own bytes."""

STAND_IN = b'The contents of this file are sealed.\n'
"""What stands in the place of a list of a split."""

Progress = Callable[[int, int], None]
"""Called with the numbers of files that are done and of all files."""


class ShardSealer:
    """Makes one sealed shard after the other. Ray may pickle it, without the key.

    Args:
        source: The folder of the data set.
        target: The folder of the sealed data set.
        key: The key of the data set. On the machines of Ray, the key that the environment names opens it.
        skip: Whether files with problems are left out.
    """

    def __init__(self, source: Storage, target: Storage, key: SecretKey | None, skip: bool) -> None:
        self.source, self.target, self.skip, self._key = source, target, skip, key

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_key': None}

    @property
    def key(self) -> SecretKey:
        """The key of the data set."""
        if self._key is None:
            self._key = open_key(self.target, key=seal_key())
        return self._key

    def __call__(self, shard: Shard) -> tuple[int, str, list[Place], dict[str, str]]:
        """Make a shard, unless it has problems that are not left out.

        Returns:
            The number of the shard, its salt, the files in it, and the problems by path.
        """
        problems: dict[str, str] = {}
        places: list[Place] = []
        with (
            put_without_problems(self.target, shard_name(shard.number), problems, self.skip) as file,
            sealing_into(file, [KeyRecipient(self.key)], self.key.key_id, chunk_size=CHUNK_SIZE) as writer,
        ):
            archive = TarWriter(writer)
            for path, content in self._contents(shard, problems):
                entry = archive.add(path, content)
                places.append(Place(path, entry.size, entry.sha256, shard.number, entry.offset))
            archive.finish()
            salt = writer.header.salt.hex()
        return shard.number, salt, places, problems

    def _contents(self, shard: Shard, problems: dict[str, str]) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a shard, without those that have problems."""
        for pair in shard.pairs:
            files = {path: self.source.read(path, shard.listed[path]) for path in pair[:2] if path is not None}
            try:
                check_pair(files[pair.image], files.get(pair.label or ''))
                for content in files.values():
                    check_pixels(content)
            except ImageFormatError as error:
                problems[pair.image] = str(error)
                continue
            yield from files.items()
        for path in shard.others:
            yield path, self.source.read(path, shard.listed[path])


def seal_data_set(
    source: str | Path,
    target: str | Path,
    recipients: Sequence[Recipient],
    key_id: str = '',
    *,
    signer: Signer | None = None,
    key: SecretKey | Opener | None = None,
    passphrase: Passphrase = None,
    layout: Layout | None = None,
    skip_bad: bool = False,
    shard_bytes: int = SHARD_BYTES,
    jobs: int | None = None,
    engine: str = 'processes',
    progress: Progress | None = None,
) -> Summary:
    """Seal a data set into shards. A command that was interrupted is repeated, and goes on where it was.

    Args:
        source: The folder of the data set, a path or a URL of fsspec. Its files stay as they are.
        target: The folder to make, a path or a URL.
        recipients: Who can open it; at least one.
        key_id: The key id that its key file names, or empty text.
        signer: Who signs key, plan and manifest, and with which licence.
        key: What opens the data set, to go on where an earlier run was.
        passphrase: The passphrase that does, if any.
        layout: Where images and label maps lie. Default: it is found by the names of the folders.
        skip_bad: Whether images and label maps with problems are left out. By default they are an error.
        shard_bytes: Size at which a shard is full.
        jobs: Shards at once. Default: one for each core.
        engine: ``processes``, ``threads`` or ``ray``.
        progress: Is told how far it is.

    Raises:
        MissingFileError: The source is no folder.
        ConfigError: The layout is unknown, the source has changed since an earlier run began, or source and target
            lie in one another.
        ImageFormatError: Images and label maps do not fit.
        WrongKeyError: An earlier run was for other recipients.
        OutputError: The target holds something else, or cannot be written.

    Example:
        >>> from PIL import Image
        >>> for folder in ('images', 'annotations'):
        ...     Path('scenes', folder).mkdir(parents=True)
        ...     Image.new('L', (8, 8)).save(f'scenes/{folder}/a.png')
        >>> key = SecretKey.generate()
        >>> seal_data_set('scenes', 'scenes.sealed', [KeyRecipient(key)], key.key_id).files
        2
    """
    plain, sealed = two_folders(source, target)
    listed = plain.walk()
    names = sealed.names()
    refuse_others(sealed, names, KEY)
    secret = (
        open_key(sealed, key=key, passphrase=passphrase, signer=signer)
        if KEY in names
        else make_key(sealed, recipients, key_id, signer)
    )
    if MANIFEST in names:
        finished = read_manifest(sealed, MANIFEST, secret, signer)
        refuse_changes(finished.source, listed, plain.url)
        sealed.remove(PLAN)
        return _summary(finished, made=0)
    found = pairs_of(listed, layout)
    refuse_problems(found.problems, skip_bad)
    shards = list(plan_shards(found, listed, shard_bytes))
    if PLAN in names:
        plan = read_manifest(sealed, PLAN, secret, signer)
        refuse_changes(plan.source, listed, plain.url)
        if plan.shards != [shard.paths for shard in shards]:
            raise ConfigError('Expected the options of the run that began, but the shards would differ. Repeat them.')
    else:
        plan = Manifest([shard.paths for shard in shards], listed)
        write_manifest(sealed, PLAN, plan, secret, signer)
    plan.skipped, plan.salts = dict(found.problems), [''] * len(shards)
    there = [shard for shard in shards if shard_name(shard.number) in names]
    for shard in there:
        _add_finished(plan, sealed, shard, secret, skip_bad)
    missing = [shard for shard in shards if shard_name(shard.number) not in names]
    total, done = sum(len(shard.paths) for shard in shards), sum(len(shard.paths) for shard in there)
    problems: dict[str, str] = {}
    work = ShardSealer(plain, sealed, secret, skip_bad)
    run = engine_of(engine, local=plain.local and sealed.local)
    for number, plan.salts[number], places, bad in run(work, missing, jobs):
        plan.places += places
        problems |= bad
        done += len(shards[number].paths)
        if progress is not None:
            progress(done, total)
    refuse_problems(problems, skip_bad)
    plan.skipped |= problems
    for pair in found.pairs:
        if pair.label is not None and pair.image in problems:
            plan.skipped[pair.label] = f'{pair.image} is left out'
    refuse_changes(listed, plain.walk(), plain.url)
    _stand_in_for_lists(plan, sealed)
    plan.places.sort(key=lambda place: (place.shard, place.offset))
    write_manifest(sealed, MANIFEST, plan, secret, signer)
    sealed.remove(PLAN)
    return _summary(plan, made=len(missing))


def _add_finished(plan: Manifest, sealed: Storage, shard: Shard, key: SecretKey, skip: bool) -> None:
    """Add the files of a shard that an earlier run has made.

    Raises:
        DamagedFileError: It has other files, or not all of them where none may be left out.
    """
    name = shard_name(shard.number)
    with SealedReader(sealed.open(name), key) as reader:
        found = list(entries_of(cast(IO[bytes], reader), name))
        plan.salts[shard.number] = reader.header.salt.hex()
    missing = set(shard.paths) - {one.path for one in found}
    if len(found) + len(missing) != len(shard.paths) or (missing and not skip):
        raise DamagedFileError(
            f'Expected {len(shard.paths)} files in {sealed.url}/{name}, but it has {len(found)}, or others: an earlier '
            'run left some out, or the shard is another one. Repeat its options, or remove it.'
        )
    plan.places += [Place(one.path, one.size, one.sha256, shard.number, one.offset) for one in found]
    plan.skipped |= dict.fromkeys(sorted(missing), LEFT_OUT)


def _stand_in_for_lists(plan: Manifest, sealed: Storage) -> None:
    """Write a file in the place of every text file: MMSegmentation checks that an ``ann_file`` is there.

    It then reads the list by the backend, from the shards.
    """
    for path in (place.path for place in plan.places if place.path.endswith('.txt')):
        with sealed.put(path) as file:
            file.write(STAND_IN)


def _summary(manifest: Manifest, made: int) -> Summary:
    return Summary(len(manifest.places), made, len(manifest.shards) - made, manifest.skipped)
