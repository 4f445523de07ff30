"""Which label map belongs to which image, in the layouts of MMSegmentation's data sets, and whether the two fit."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from mmseg_keyprotect.errors import ConfigError, ImageFormatError, MissingDependencyError

_ORIENTATION = 0x0112  # of EXIF
_UPRIGHT, _TURNED = 1, (5, 6, 7, 8)


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


def check_pair(image: bytes, label: bytes | None) -> None:
    """Check that an image and its label map can be read and have one size.

    Args:
        image: The contents of the file. An orientation in its EXIF data counts.
        label: The contents of the file of the label map, if any.

    Raises:
        ImageFormatError: One of them cannot be read, the label map is turned by its EXIF data, or the sizes differ.
    """
    size = image_size(image)
    if label is None:
        return
    if _orientation(label) != _UPRIGHT:
        raise ImageFormatError(
            'Expected a label map without orientation in its EXIF data, but it has one, which readers of label maps '
            'ignore. Turn its pixels.'
        )
    if (other := image_size(label)) != size:
        raise ImageFormatError(
            f'Expected a label map of the size of its image, {size[0]} x {size[1]}, but got {other[0]} x {other[1]}. '
            'Turn or resize one of them.'
        )


def image_size(content: bytes) -> tuple[int, int]:
    """Return (width, height) of an image file, upright, without decoding its pixels.

    Raises:
        ImageFormatError: It is no image.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
        return (height, width) if _orientation(content) in _TURNED else (width, height)
    except UnidentifiedImageError:
        if content[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            return _tiff_size(content)
        raise ImageFormatError('Expected an image, but the file is none. Use another copy of it.') from None
    except Exception as error:  # Pillow raises errors of many types for a file that is damaged
        raise ImageFormatError(
            f'Expected an image, but the file is damaged: {error}. Use another copy of it.'
        ) from None


def _orientation(content: bytes) -> int:
    try:
        with Image.open(io.BytesIO(content)) as image:
            return int(image.getexif().get(_ORIENTATION, _UPRIGHT))
    except Exception:  # a TIFF of many channels, which has none
        return _UPRIGHT


def _tiff_size(content: bytes) -> tuple[int, int]:
    """Return the size of a TIFF with channels or samples that Pillow does not know."""
    try:
        import tifffile
    except ImportError:
        raise MissingDependencyError(
            'Expected tifffile for a TIFF of many channels, but it is not installed. Install it: pip install tifffile'
        ) from None
    try:
        with tifffile.TiffFile(io.BytesIO(content)) as file:
            page = file.pages[0]
            return int(page.imagewidth), int(page.imagelength)
    except Exception as error:
        raise ImageFormatError(
            f'Expected an image, but the TIFF is damaged: {error}. Use another copy of it.'
        ) from None
