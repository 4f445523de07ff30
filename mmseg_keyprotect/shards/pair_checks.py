"""Whether an image and its label map can be read and fit."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from PIL import Image, UnidentifiedImageError

from mmseg_keyprotect.errors import ImageFormatError, KeyProtectError, MissingDependencyError

_ORIENTATION = 0x0112  # of EXIF
_UPRIGHT, _TURNED = 1, (5, 6, 7, 8)


def check_pair(image: bytes, label: bytes | None) -> None:
    """Check that an image and its label map are images of one size; their pixels are not decoded.

    Args:
        image: The contents of the file. An orientation in its EXIF data counts.
        label: The contents of the file of the label map, if any.

    Raises:
        ImageFormatError: One of them is no image, the label map is turned by its EXIF data, or the sizes differ.
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
    with _reporting():
        if _for_tifffile(content):
            with _tiff_page(content) as page:
                return int(page.imagewidth), int(page.imagelength)
        with Image.open(io.BytesIO(content)) as image:
            width, height = image.size
            return (height, width) if _orientation_of(image) in _TURNED else (width, height)


def check_pixels(content: bytes) -> None:
    """Decode the pixels of an image file, a JPEG at an eighth of its size.

    Raises:
        ImageFormatError: It is damaged or cut off.
    """
    with _reporting():
        if _for_tifffile(content):
            with _tiff_page(content) as page:
                if page.compression != 1 and find_spec('imagecodecs') is None:
                    raise MissingDependencyError(
                        'Expected imagecodecs for a compressed TIFF of many channels, but it is not installed. Install '
                        'it: pip install imagecodecs'
                    )
                page.asarray()
            return
        with Image.open(io.BytesIO(content)) as image:
            image.draft('L', (1, 1))  # does nothing in other formats
            image.load()


@contextmanager
def _reporting() -> Iterator[None]:
    try:
        yield
    except (KeyProtectError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageFormatError('Expected an image, but the file is none. Use another copy of it.') from None
    except Exception as error:  # Pillow and tifffile raise errors of many types for a file that is damaged
        raise ImageFormatError(
            f'Expected an image, but the file is damaged: {error}. Use another copy of it.'
        ) from None


def _for_tifffile(content: bytes) -> bool:
    """Tell whether a file is a TIFF with channels or samples that Pillow does not know."""
    if content[:4] not in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
        return False
    try:
        with Image.open(io.BytesIO(content)):
            return False
    except UnidentifiedImageError:
        return True


@contextmanager
def _tiff_page(content: bytes) -> Iterator[Any]:
    """Yield the first page of a TIFF."""
    try:
        import tifffile
    except ImportError:
        raise MissingDependencyError(
            'Expected tifffile for a TIFF of many channels, but it is not installed. Install it: pip install tifffile'
        ) from None
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        yield file.pages[0]


def _orientation(content: bytes) -> int:
    """Return the orientation in the EXIF data of a file; upright if it has none."""
    if _for_tifffile(content):
        return _UPRIGHT
    with _reporting(), Image.open(io.BytesIO(content)) as image:
        return _orientation_of(image)


def _orientation_of(image: Image.Image) -> int:
    return int(image.getexif().get(_ORIENTATION, _UPRIGHT))
