"""Reading plain images of the usual formats, and reading and writing encrypted ones (docs/spec.md, section 10)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, PngImagePlugin, TiffImagePlugin

from mmseg_keyprotect.errors import ImageFormatError, KeyProtectError, MissingFileError, UnsupportedSpecError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.version import SPEC_VERSION

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.webp')
MAX_PIXELS = 1 << 27
"""The largest image that is decoded, so that none can exhaust the memory. Pillow's own limit is a little above."""

MAX_CLAIMED = 1 << 28
"""The largest original size that a note may claim."""

NOTE = 'mmseg-keyprotect'
"""The name of the note in a PNG file. A TIFF file has the note as its description."""

_TO_RGB = ('RGB', 'L', '1', 'P')
_TIFF_DESCRIPTION, _TIFF_BITS = 270, 258
_MISSING = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
FORMATS = ('JPEG', 'PNG', 'TIFF', 'WEBP')
"""The formats that are read, as Pillow names them. It opens no other, whatever the suffix says."""


def read_image(path: str | Path | BinaryIO) -> npt.NDArray[np.uint8]:
    """Read a plain image as RGB uint8 (H, W, 3), rotated as its EXIF data say.

    Greyscale, bilevel and palette images become RGB, as MMSegmentation loads them. An alpha channel that is opaque
    everywhere is dropped.

    Args:
        path: The file, or an open one.

    Raises:
        MissingFileError: The file does not exist or cannot be opened.
        ImageFormatError: The file is not an image, or is transparent, 16-bit, CMYK, animated, or has another mode.

    Example:
        >>> Image.new('L', (4, 2), 255).save('white.png')
        >>> read_image('white.png').shape
        (2, 4, 3)
    """
    name = path if isinstance(path, str | Path) else 'the open file'
    try:
        with _opened(path, name) as image:
            if (frames := getattr(image, 'n_frames', 1)) > 1:
                raise _refused(name, f'{frames} frames', 'Give one file for each frame.')
            if _bits(image) > 8:  # Pillow would reduce 16-bit colours to 8 bits without a warning
                raise _refused(name, f'{_bits(image)} bits a sample', 'Convert it to 8-bit RGB.')
            image.load()
            ImageOps.exif_transpose(image, in_place=True)  # a copy of a large image takes gigabytes
            upright: Image.Image = image
    except KeyProtectError:
        raise
    except _MISSING as error:
        raise _missing(name, error) from None
    except Exception as error:  # Pillow raises errors of many types for a file that is damaged
        raise ImageFormatError(
            f'Expected an image file ({", ".join(FORMATS)}), but {name} cannot be read as one: {_line(error)}. Use '
            'another copy of it.'
        ) from None
    if upright.mode in ('RGBA', 'LA', 'PA') or 'transparency' in upright.info:
        upright = upright.convert('RGBA')
        if np.asarray(upright)[..., 3].min() < 255:
            raise _refused(name, 'a transparent image', 'Put it on a background like that of the training images.')
        upright = upright.convert('RGB')
    if upright.mode not in _TO_RGB:
        hint = {'CMYK': 'Convert it to RGB with its colour profile.'}.get(upright.mode, 'Convert it to 8-bit RGB.')
        raise _refused(name, f'the mode {upright.mode}', hint)
    return np.asarray(upright if upright.mode == 'RGB' else upright.convert('RGB'))


def write_encrypted(path: str | Path, image: npt.NDArray[Any], note: Mapping[str, Any]) -> None:
    """Write an encrypted image without loss: uint8 as PNG, uint16 (after ffx) as TIFF with three 16-bit pages.

    The file appears whole or not at all, and never replaces another one.

    Args:
        path: The file to make. It ends in ``.png``, or in ``.tiff`` for uint16.
        image: RGB (H, W, 3), uint8 or uint16.
        note: The public note of the file: ``spec_version``, ``key_id``, ``cipher``, ``padding_size``, ``size``.

    Raises:
        OutputError: The file exists or cannot be written.

    Example:
        >>> image, note = Encryptor(SecretKey.generate()).encrypt(np.zeros((8, 8, 3), dtype=np.uint8))
        >>> write_encrypted('black.png', image, note)
    """
    with new_file(path) as temporary:
        save_encrypted(temporary, image, note)


def save_encrypted(file: Path | BinaryIO, image: npt.NDArray[Any], note: Mapping[str, Any]) -> None:
    """Write what :func:`mmseg_keyprotect.images.write_encrypted` writes into a file."""
    text = json.dumps(dict(note))
    if image.dtype == np.uint16:
        pages = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(3)]
        pages[0].save(
            file,
            'TIFF',
            compression='tiff_deflate',
            save_all=True,
            append_images=pages[1:],
            tiffinfo={_TIFF_DESCRIPTION: text},
        )
        return
    info = PngImagePlugin.PngInfo()
    info.add_text(NOTE, text)
    # noise hardly becomes smaller: level 6 takes longer for a file of the same size
    Image.fromarray(image).save(file, 'PNG', pnginfo=info, compress_level=1)


def read_encrypted(path: str | Path | BinaryIO) -> tuple[npt.NDArray[Any], dict[str, Any]]:
    """Read what :func:`mmseg_keyprotect.images.write_encrypted` wrote.

    Args:
        path: The file, or an open one.

    Returns:
        The image, RGB uint8 or uint16 (H, W, 3), and its note.

    Raises:
        MissingFileError: The file does not exist or cannot be opened.
        ImageFormatError: The file is not an image, or is not encrypted.
        UnsupportedSpecError: The file has a newer version.

    Example:
        >>> image, note = Encryptor(SecretKey.generate()).encrypt(np.zeros((8, 8, 3), dtype=np.uint8))
        >>> write_encrypted('night.png', image, note)
        >>> np.array_equal(read_encrypted('night.png')[0], image)
        True
    """
    name = path if isinstance(path, str | Path) else 'the open file'
    try:
        with _opened(path, name) as image:
            try:
                note = read_note(image)
            except KeyError:
                raise ImageFormatError(
                    f'Expected an encrypted image, but {name} has no note of mmseg-keyprotect. Encrypt it: keyprotect '
                    'encrypt.'
                ) from None
            if image.format == 'TIFF':
                pages = []
                for page in range(3):
                    image.seek(page)
                    pages.append(np.asarray(image).astype(np.uint16))
                return np.stack(pages, axis=-1), note
            return np.asarray(image.convert('RGB')), note
    except KeyProtectError:
        raise
    except _MISSING as error:
        raise _missing(name, error) from None
    except Exception as error:
        raise ImageFormatError(
            f'Expected an encrypted image, but {name} cannot be read: {_line(error)}. Use another copy of it.'
        ) from None


def is_encrypted(path: str | Path) -> bool:
    """Tell whether a file is an encrypted image of mmseg-keyprotect. A file that cannot be read is not.

    Raises:
        UnsupportedSpecError: The file is encrypted and has a newer version.

    Example:
        >>> Image.new('RGB', (4, 4)).save('photo.png')
        >>> is_encrypted('photo.png')
        False
    """
    try:
        read_encrypted(path)
    except (ImageFormatError, MissingFileError):
        return False
    return True


def read_note(image: Image.Image) -> dict[str, Any]:
    """Return the note of an opened encrypted image. The note is not authenticated and is treated as hostile.

    Raises:
        KeyError: The image has no note, or a note that is not valid.
        UnsupportedSpecError: The note has a newer version.
    """
    text = image.tag_v2[_TIFF_DESCRIPTION] if isinstance(image, TiffImagePlugin.TiffImageFile) else image.info[NOTE]
    try:
        note: dict[str, Any] = json.loads(text)
        version, padding, size = note['spec_version'], note['padding_size'], note['size']
        named = isinstance(note['key_id'], str) and isinstance(note['cipher'], str)
        whole = all(type(n) is int for n in (version, *padding, *size)) and (len(padding), len(size)) == (4, 2)
    except (ValueError, TypeError, RecursionError):
        raise KeyError(NOTE) from None
    if not (named and whole) or version < 1:
        raise KeyError(NOTE)
    if version > SPEC_VERSION:
        raise UnsupportedSpecError(
            f'Expected an image of at most specification version {SPEC_VERSION}, but got version {version}. '
            'Install a newer mmseg-keyprotect.'
        )
    left, right, top, bottom = padding
    fits = (left, top) == (0, 0) and 0 <= right < image.width and 0 <= bottom < image.height
    if not fits or min(size) < 1 or size[0] * size[1] > MAX_CLAIMED:
        raise KeyError(NOTE)
    return note


@contextmanager
def _opened(path: str | Path | BinaryIO, name: str | Path) -> Iterator[ImageFile.ImageFile]:
    """Open an image of one of the formats, and of no more pixels than are read."""
    with Image.open(path, formats=FORMATS) as image:
        if image.width * image.height > MAX_PIXELS:
            raise _refused(name, f'{image.width} x {image.height} pixels', 'Cut or resize it.')
        yield image


def _line(error: Exception) -> str:
    """Return the first line of an error, or its type."""
    return (str(error).splitlines() or [''])[0].rstrip('.') or type(error).__name__


def _bits(image: ImageFile.ImageFile) -> int:
    """Return the bits of a sample in the file, for the formats that can have more than 8."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return int(max(image.tag_v2.get(_TIFF_BITS, (8,))))
    raw = str(image.tile[0][3]) if image.format == 'PNG' and image.tile else ''
    return 16 if '16' in raw else 8


def _missing(path: str | Path, error: OSError) -> MissingFileError:
    return MissingFileError(f'Expected an image file to read, but {path}: {error.strerror}. Check the path.')


def _refused(path: str | Path, found: str, hint: str) -> ImageFormatError:
    return ImageFormatError(f'Expected an 8-bit RGB or greyscale image, but {path} has {found}. {hint}')
