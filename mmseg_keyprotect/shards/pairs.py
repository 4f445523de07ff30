"""Which label map belongs to which image, in the layouts of MMSegmentation's data sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mmseg_keyprotect.errors import ConfigError


@dataclass(frozen=True)
class Layout:
    """Where images and label maps lie, in the words of MMSegmentation's ``BaseSegDataset``.

    Args:
        img_path: The folder of the images, below that of the data set.
        seg_map_path: The folder of the label maps; folders below both have the same names.
        img_suffix: How the names of images end; one of several.
        seg_map_suffix: What label maps have in its place.
        every_image: Whether every image has a label map.

    Example:
        >>> Layout('img', 'ann', ('_rgb.png',), '_mask.png').every_image
        True
    """

    img_path: str
    seg_map_path: str
    img_suffix: tuple[str, ...] = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.webp', '.bmp')
    seg_map_suffix: str = '.png'
    every_image: bool = True


LAYOUTS = {
    'camvid': Layout('images', 'annotations'),
    'voc': Layout('JPEGImages', 'SegmentationClass', ('.jpg',), every_image=False),
    'cityscapes': Layout('leftImg8bit', 'gtFine', ('_leftImg8bit.png',), '_gtFine_labelTrainIds.png'),
    'ade20k': Layout('images', 'annotations', ('.jpg',)),
}
"""Layouts by the names of the data sets."""


class Pair(NamedTuple):
    """An image and its label map, by their paths below the folder of the data set.

    Args:
        image: The path of the image.
        label: The path of the label map; None where there is none.
        key: The path of the image below the folder of images, without suffix.
    """

    image: str
    label: str | None
    key: str


class Pairs(NamedTuple):
    """What a data set holds.

    Args:
        pairs: Images with their label maps, sorted.
        others: All other files.
        problems: What is wrong, by path.
    """

    pairs: list[Pair]
    others: list[str]
    problems: dict[str, str]


def detect_layout(paths: Iterable[str]) -> Layout:
    """Return the layout whose folders are there.

    Raises:
        ConfigError: None is, or several are.

    Example:
        >>> detect_layout(['JPEGImages/a.jpg', 'SegmentationClass/a.png']).every_image
        False
    """
    folders = {path.partition('/')[0] for path in paths if '/' in path}
    found = {one for one in LAYOUTS.values() if one.img_path in folders and one.seg_map_path in folders}
    if {LAYOUTS['camvid'], LAYOUTS['ade20k']} <= found:
        found.remove(LAYOUTS['ade20k'])  # the same folders, with fewer suffixes
    if len(found) == 1:
        return found.pop()
    known = ', '.join(f'{one.img_path} and {one.seg_map_path} ({name})' for name, one in LAYOUTS.items())
    raise ConfigError(
        f'Expected the folders of one layout, {known}, but found {", ".join(sorted(folders)) or "no folder"}. Name the '
        'folders: --images FOLDER --labels FOLDER.'
    )


def find_pairs(paths: Sequence[str], layout: Layout) -> Pairs:
    """Find the label map of every image.

    Example:
        >>> found = find_pairs(['images/a.jpg', 'images/b.jpg', 'annotations/a.png', 'classes.txt'], LAYOUTS['camvid'])
        >>> found.pairs, found.others
        ([Pair(image='images/a.jpg', label='annotations/a.png', key='a')], ['classes.txt'])
        >>> found.problems
        {'images/b.jpg': 'no label map annotations/b.png'}
    """
    there, pairs, problems = set(paths), [], {}
    keys: dict[str, str] = {}
    for path in paths:
        key = _key(path, layout)
        if key is None:
            continue
        if (twin := keys.setdefault(key, path)) != path:
            problems[path] = f'{twin} has the same name'
            continue
        label = f'{layout.seg_map_path}/{key}{layout.seg_map_suffix}'
        if label not in there and layout.every_image:
            problems[path] = f'no label map {label}'
        else:
            pairs.append(Pair(path, label if label in there else None, key))
    labels = {pair.label for pair in pairs}
    for path in paths:
        of_layout = path.startswith(f'{layout.seg_map_path}/') and path.endswith(layout.seg_map_suffix)
        if (
            of_layout
            and path not in labels
            and path[len(layout.seg_map_path) + 1 : -len(layout.seg_map_suffix)] not in keys
        ):
            problems[path] = (
                f'no image {layout.img_path}/{path[len(layout.seg_map_path) + 1 : -len(layout.seg_map_suffix)]}'
            )
    used = {part for pair in pairs for part in pair[:2]} | problems.keys()
    return Pairs(pairs, [path for path in paths if path not in used], problems)


def _key(path: str, layout: Layout) -> str | None:
    """Return the path of an image below the folder of images, without suffix; None for another file."""
    if not path.startswith(f'{layout.img_path}/'):
        return None
    name = path[len(layout.img_path) + 1 :]
    suffix = next((one for one in layout.img_suffix if name.lower().endswith(one.lower())), None)
    return None if suffix is None else name[: -len(suffix)]
