"""What a command does with the files of a data set: which go together, what is left out, and what has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from mmseg_keyprotect.errors import ConfigError, ImageFormatError, OutputError
from mmseg_keyprotect.shards.pairs import Layout, Pair, Pairs, detect_layout, find_pairs
from mmseg_keyprotect.shards.storage import SourceFile, Storage, inside, same_place

SHARD_BYTES = 256_000_000
"""Size at which a shard is full."""

LEFT_OUT = 'left out by an earlier run'
"""The reason for a file that is not in a finished shard."""

SHOWN = 3
"""Files that an error names."""


@dataclass
class Summary:
    """What was done.

    Args:
        files: Files that are sealed, or images that are encrypted, now or earlier.
        made: Shards, or images, that were made now.
        there: Shards, or images, that were there already.
        skipped: Files that were left out, with the reason.
        others: Files that are no images, label maps or lists, and are not encrypted or copied.
    """

    files: int
    made: int
    there: int
    skipped: dict[str, str] = field(default_factory=dict)
    others: list[str] = field(default_factory=list)


class Shard(NamedTuple):
    """The files of one shard.

    Args:
        number: Of the shard.
        pairs: Images with their label maps.
        others: Other files.
        listed: All of these files, as they were when the source was listed.
    """

    number: int
    pairs: list[Pair]
    others: list[str]
    listed: dict[str, SourceFile]

    @property
    def paths(self) -> list[str]:
        """The paths of all files, in their order in the shard."""
        return [path for pair in self.pairs for path in pair[:2] if path is not None] + self.others


def two_folders(source: str | Path, target: str | Path) -> tuple[Storage, Storage]:
    """Return the folder to read and the folder to make.

    Raises:
        ConfigError: One lies in the other.
    """
    plain, made = Storage(source), Storage(target)
    if same_place(plain, made):
        raise ConfigError(f'Expected two folders, but {target} and {source} lie in one another. Name another with -o.')
    return plain, made


@contextmanager
def put_without_problems(target: Storage, name: str, problems: Mapping[str, str], skip: bool) -> Iterator[Any]:
    """Yield an open file that becomes ``name``, unless there are problems at the end that are not left out.

    Another run may have made it meanwhile. Then that file stays, and this run ends: to run it again goes on from there.

    Args:
        target: The folder.
        name: The name of the file.
        problems: What is wrong, which the caller adds to.
        skip: Whether files with problems are left out.
    """
    try:
        with suppress(_NotMade), target.put(name, new=True) as file:
            yield file
            if problems and not skip:
                raise _NotMade
    except OutputError:
        if not target.exists(name):
            raise
        raise OutputError(
            f'Expected to make {target.url}/{name}, but another run has made it meanwhile. When that run has ended, '
            'run the command again.'
        ) from None


class _NotMade(Exception):
    """A file has problems, and is not made."""


def pairs_of(source: Sequence[SourceFile], layout: Layout | None, dots: bool = True) -> Pairs:
    """Find images and label maps.

    Args:
        source: The files.
        layout: Where they lie. Default: it is found by the names of the folders.
        dots: Whether names may have dots; in WebDataset one ends the name of a sample.

    Raises:
        ConfigError: There is no image, no layout fits, or a name would lead out of a folder.
    """
    paths = [file.path for file in source]
    if (outside := next((path for path in paths if not inside(path)), None)) is not None:
        raise ConfigError(f'Expected names that every system can write, but got {outside!r}. Rename it.')
    layout = layout or detect_layout(paths)
    found = find_pairs(paths, layout)
    if not found.pairs:
        raise ConfigError(
            f'Expected images in {layout.img_path} that end in {" ".join(layout.img_suffix)}, each with a label map in '
            f'{layout.seg_map_path} that ends in {layout.seg_map_suffix}, but found none. Name the folders: --images '
            'FOLDER --labels FOLDER.'
        )
    if dots:
        return found
    dotted = [pair.image for pair in found.pairs if '.' in pair.key.rpartition('/')[2]]
    found.problems.update(dict.fromkeys(dotted, 'a dot in its name, where WebDataset ends the name of a sample'))
    return found._replace(pairs=[pair for pair in found.pairs if pair.image not in found.problems])


def plan_shards(found: Pairs, source: Sequence[SourceFile], shard_bytes: int = SHARD_BYTES) -> Iterator[Shard]:
    """Divide a data set into shards. An image and its label map are in one."""
    by_path = {file.path: file for file in source}
    number, size, shard = 0, 0, _empty(0)
    items: list[Pair | str] = [*found.pairs, *found.others]
    for item in items:
        files = [by_path[path] for path in ([item] if isinstance(item, str) else item[:2]) if path is not None]
        more = sum(file.size for file in files)
        if size and size + more > shard_bytes:
            yield shard
            number, size = number + 1, 0
            shard = _empty(number)
        size += more
        shard.listed.update({file.path: file for file in files})
        if isinstance(item, str):
            shard.others.append(item)
        else:
            shard.pairs.append(item)
    yield shard


def _empty(number: int) -> Shard:
    return Shard(number, [], [], {})


def refuse_problems(problems: Mapping[str, str], skip: bool) -> None:
    """Refuse files with problems, unless they are left out by choice.

    Raises:
        ImageFormatError: There are some, and ``skip`` is not set.
    """
    if problems and not skip:
        raise ImageFormatError(
            f'Expected images and label maps that fit, but {len(problems)} do not: {shown(problems)}. Correct them, or '
            'leave them out: --skip-bad.'
        )


def refuse_changes(before: Iterable[SourceFile], now: Iterable[SourceFile], name: str) -> None:
    """Refuse a source that is not what it was when the work began.

    Raises:
        ConfigError: Files were added, removed or changed.
    """
    old, new = ({file.path: file for file in files} for files in (before, now))
    changes = {path: 'new' for path in new.keys() - old.keys()} | {path: 'gone' for path in old.keys() - new.keys()}
    changes |= {path: 'changed' for path in new.keys() & old.keys() if new[path] != old[path]}
    if changes:
        raise ConfigError(
            f'Expected {name} as it was when the work began, but {len(changes)} files differ: '
            f'{shown(dict(sorted(changes.items())))}. Restore them, or begin again with another output folder.'
        )


def shown(files: Mapping[str, str] | Sequence[str]) -> str:
    """Return the first of some files as text, with what is wrong with them if that is known.

    Example:
        >>> shown({'a.png': 'damaged'}), shown(['a', 'b', 'c', 'd'])
        ('a.png (damaged)', 'a, b, c and 1 more')
    """
    first = [f'{path} ({files[path]})' if isinstance(files, Mapping) else path for path in list(files)[:SHOWN]]
    return ', '.join(first) + (f' and {len(files) - SHOWN} more' if len(files) > SHOWN else '')


def refuse_others(target: Storage, names: set[str], mark: str) -> None:
    """Refuse a folder to write to that holds something else.

    Args:
        target: The folder.
        names: The names of the files in it.
        mark: The name of the file that shows that an earlier run made it.

    Raises:
        OutputError: It holds files, and the mark is not among them.
    """
    if names and mark not in names:
        raise OutputError(f'Expected a new folder, but {target.url} holds {min(names)}. Name another with -o.')
