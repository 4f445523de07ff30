"""Encrypt the images of a data set block by block, for training where no key is; label maps are extended with them."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.ciphers.blocks import pad_label
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.errors import (
    ConfigError,
    DamagedFileError,
    ImageFormatError,
    KeyProtectError,
    OutputError,
    WrongKeyError,
)
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.images.files import read_image, save_encrypted
from mmseg_keyprotect.keys.providers import build_key
from mmseg_keyprotect.shards.engines import engine_of, in_threads
from mmseg_keyprotect.shards.pairs import Layout, Pair, check_pair, detect_layout
from mmseg_keyprotect.shards.plans import (
    SHARD_BYTES,
    Shard,
    Summary,
    pairs_of,
    plan_shards,
    refuse_changes,
    refuse_problems,
)
from mmseg_keyprotect.shards.storage import SourceFile, Storage, same_place
from mmseg_keyprotect.shards.tar import TarWriter, entries_of

NOTE = 'encrypted.json'
"""The public note of an encrypted data set: key id, cipher, and what the source was."""

FORMATS = ('folder', 'webdataset')
_IGNORED = 255
_LABEL_MODES = ('L', 'P', 'I;16')


class PairEncryptor:
    """Encrypts images and extends their label maps. Ray may pickle it; the key is built where it runs.

    Args:
        source: The folder of the data set.
        target: The folder to make.
        key: The configuration of the key, as for :func:`~mmseg_keyprotect.keys.providers.build_key`.
        cipher: The configuration of the cipher.
        resize: (width, height) in pixels that images and label maps are resized to before.
        tar: Whether the result is tar archives for WebDataset.
        skip: Whether files with problems are left out.
    """

    def __init__(
        self,
        source: Storage,
        target: Storage,
        key: Any,
        cipher: CipherConfig,
        resize: tuple[int, int] | None,
        tar: bool,
        skip: bool,
    ) -> None:
        self.source, self.target, self.key, self.cipher = source, target, key, cipher
        self.resize, self.tar, self.skip = resize, tar, skip
        self._encryptor: Encryptor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), '_encryptor': None}

    @property
    def encryptor(self) -> Encryptor:
        """What encrypts the images."""
        if self._encryptor is None:
            self._encryptor = Encryptor(build_key(self.key), self.cipher, self.resize)
        return self._encryptor

    def __call__(self, shard: Shard) -> tuple[int, int, dict[str, str]]:
        """Encrypt the pairs of a shard.

        Returns:
            The number of the shard, how many images were encrypted now, and the problems by path.
        """
        problems: dict[str, str] = {}
        if not self.tar:
            return shard.number, sum(self._encrypt(pair, problems) for pair in shard.pairs), problems
        done = 0
        with self.target.put(tar_name(shard.number)) as file:
            archive = TarWriter(file)
            for pair in shard.pairs:
                if (made := self.made(pair, problems)) is not None:
                    done += 1
                    for part, content in zip(('image', 'label'), made, strict=True):
                        if content is not None:
                            archive.add(
                                f'{pair.key}.{part}{".png" if part == "label" else self.encryptor.suffix}', content
                            )
            archive.finish()
        return shard.number, done, problems

    def _encrypt(self, pair: Pair, problems: dict[str, str]) -> bool:
        """Write the files of a pair that are not there yet, the image last."""
        image = target_of(pair.image, self.encryptor.suffix)
        if self.target.exists(image) or (made := self.made(pair, problems)) is None:
            return False
        for path, content in ((pair.label and target_of(pair.label, '.png'), made[1]), (image, made[0])):
            if path is not None and content is not None:
                with self.target.put(path) as file:
                    file.write(content)
        return True

    def made(self, pair: Pair, problems: dict[str, str]) -> tuple[bytes, bytes | None] | None:
        """Return the files of an encrypted image and of its label map; None if one of them has a problem."""
        content = self.source.read(pair.image)
        label = None if pair.label is None else self.source.read(pair.label)
        try:
            check_pair(content, label)
            encrypted, note = self.encryptor.encrypt(read_image(io.BytesIO(content)))
            extended = None if label is None else self._extended(label, tuple(note['padding_size']))
        except KeyProtectError as error:
            problems[pair.image] = str(error)
            return None
        image = io.BytesIO()
        save_encrypted(image, encrypted, note)
        return image.getvalue(), extended

    def _extended(self, content: bytes, padding: tuple[int, ...]) -> bytes:
        """Return a label map, resized as its image, with the ignored value at the right and at the bottom."""
        with Image.open(io.BytesIO(content)) as label:
            if label.mode not in _LABEL_MODES:
                raise ImageFormatError(
                    f'Expected a label map of one channel of class numbers, modes {", ".join(_LABEL_MODES)}, but got '
                    f'the mode {label.mode}. Convert it.'
                )
            palette = label.getpalette() if label.mode == 'P' else None
            if self.resize is not None:
                label = label.resize(self.resize, Image.Resampling.NEAREST)
            values = pad_label(np.asarray(label), padding, _IGNORED)  # type: ignore[arg-type]
        written = Image.fromarray(values)
        if palette is not None:
            # of all 256 entries: PNG stores the numbers of a short palette in fewer bits, and 255 would be cut
            written.putpalette([*palette, *bytes(3 * 256 - len(palette))])
        file = io.BytesIO()
        written.save(file, 'PNG')
        return file.getvalue()


def target_of(path: str, suffix: str) -> str:
    """Return the path of an encrypted image or a label map.

    Example:
        >>> target_of('images/a.jpg', '.png')
        'images/a.png'
    """
    return path[: path.rindex('.')] + suffix


def tar_name(number: int) -> str:
    """Return the name of an archive for WebDataset.

    Example:
        >>> tar_name(3)
        'shard-000003.tar'
    """
    return f'shard-{number:06d}.tar'


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
    engine: str = 'threads',
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Encrypt the images of a data set block by block. An interrupted command is repeated, and goes on where it was.

    Args:
        source: The folder of the data set, a path or a URL of fsspec. Its files stay as they are.
        target: The folder to make, a path or a URL.
        key: The configuration of the key, as for :func:`~mmseg_keyprotect.keys.providers.build_key`.
        cipher: The configuration of the cipher.
        resize: (width, height) in pixels: images bilinear, label maps by the nearest pixel. Default: as they are.
        layout: Where images and label maps lie. Default: it is found by the names of the folders.
        form: ``folder``, the same folders with PNG files, or ``webdataset``, tar archives whose members are
            ``NAME.image.png`` and ``NAME.label.png``.
        skip_bad: Whether images and label maps with problems are left out. By default they are an error.
        shard_bytes: Size of the plain files of an archive.
        jobs: Images, or archives, at once. Default: one for each core.
        engine: ``threads`` or ``ray``.
        progress: Is told how many images are done, and of how many.

    Raises:
        MissingFileError: The source is no folder.
        ConfigError: The layout is unknown, the source has changed since an earlier run began, or source and target
            lie in one another.
        ImageFormatError: Images and label maps do not fit, or cannot be encrypted.
        WrongKeyError: An earlier run had another key, cipher or size.
        OutputError: The target holds something else, or cannot be written.

    Example:
        >>> for folder in ('images', 'annotations'):
        ...     Path('roads', folder).mkdir(parents=True)
        ...     Image.new('L', (9, 8)).save(f'roads/{folder}/a.png')
        >>> encrypt_data_set('roads', 'roads_encrypted', SecretKey.generate()).files
        1
        >>> Image.open('roads_encrypted/annotations/a.png').size
        (12, 8)
    """
    plain, made = Storage(source), Storage(target)
    if same_place(plain, made):
        raise ConfigError(f'Expected two folders, but {target} and {source} lie in one another. Name another with -o.')
    listed = plain.walk()
    layout = layout or detect_layout(file.path for file in listed)
    found = pairs_of(listed, layout)
    tar = form == 'webdataset'
    if tar:
        found.problems.update(
            {
                pair.image: 'a dot in its name, where WebDataset ends the name of a sample'
                for pair in found.pairs
                if '.' in pair.key.rpartition('/')[2]
            }
        )
    pairs = [pair for pair in found.pairs if pair.image not in found.problems]
    refuse_problems(found.problems, skip_bad)
    work = PairEncryptor(plain, made, key, cipher, resize, tar, skip_bad)
    _begin(made, work.encryptor, resize, form, listed, plain.url)
    whole = found._replace(pairs=pairs, others=[])
    shards = (
        list(plan_shards(whole, listed, shard_bytes)) if tar else [Shard(i, [pair], []) for i, pair in enumerate(pairs)]
    )
    names = made.names() if tar else set()
    missing = [shard for shard in shards if tar_name(shard.number) not in names]
    done = len(pairs) - sum(len(shard.pairs) for shard in missing)
    now, problems = 0, dict[str, str]()
    for number, encrypted, bad in engine_of(engine)(work, missing, jobs):
        done += len(shards[number].pairs)
        problems |= bad
        now += encrypted
        if progress is not None:
            progress(done, len(pairs))
    if problems and tar and not skip_bad:
        for shard in missing:
            if any(pair.image in problems for pair in shard.pairs):
                made.remove(tar_name(shard.number))
    refuse_problems(problems, skip_bad)
    refuse_changes(listed, plain.walk(), plain.url)
    for path in (path for path in found.others if path.endswith('.txt')):
        if not made.exists(path):
            with made.put(path) as file:
                file.write(plain.read(path))
    files = len(pairs) - len(problems)
    return Summary(files, now, files - now, {**found.problems, **problems})


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


def _begin(
    made: Storage, encryptor: Encryptor, resize: tuple[int, int] | None, form: str, listed: list[SourceFile], name: str
) -> None:
    """Write the note of the data set, or compare with that of an earlier run."""
    facts = dict(
        key_id=encryptor.cipher.key_id, cipher=encryptor.cipher.name, resize=resize and list(resize), form=form
    )
    names = made.names()
    if NOTE not in names:
        if names:
            raise OutputError(f'Expected a new folder, but {made.url} holds {sorted(names)[0]}. Name another with -o.')
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
