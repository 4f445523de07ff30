"""Image files: plain ones of any usual kind to read, encrypted ones without loss (docs/spec.md, section 10)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from mmseg_keyprotect.errors import ImageFormatError
from mmseg_keyprotect.files import replacing

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.webp')
NOTE = 'mmseg-keyprotect'
"""The name of the note in a PNG file; a TIFF has it as its description."""

_TO_RGB = {'RGB': None, 'L': 'one value for all three channels', '1': 'black and white', 'P': 'its palette'}
_TIFF_DESCRIPTION = 270


def read_image(path: str | Path) -> np.ndarray:
    """Read a plain image as RGB uint8 (H, W, 3), turned upright as its EXIF data say.

    Greyscale, bilevel and palette images become RGB, as MMSegmentation's loader makes them; an alpha channel that is
    opaque everywhere is left out.

    Raises:
        ImageFormatError: The file cannot be read, or is transparent, 16-bit, CMYK, animated, or of another mode.
    """
    try:
        with Image.open(path) as image:
            if getattr(image, 'n_frames', 1) > 1:
                raise _refused(path, f'{image.n_frames} frames', 'Give one file for each frame.')
            image.load()
            upright = ImageOps.exif_transpose(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, UnidentifiedImageError) as error:
        raise ImageFormatError(f'Expected an image file, but {path} cannot be read as one: {error}') from None
    if upright.mode in ('RGBA', 'LA', 'PA') or 'transparency' in upright.info:
        upright = upright.convert('RGBA')
        if upright.getextrema()[3][0] < 255:
            raise _refused(path, 'a transparent image', 'Put it on the background that the model knows.')
        upright = upright.convert('RGB')
    if upright.mode not in _TO_RGB:
        hint = {'CMYK': 'Convert it to RGB by its colour profile.'}.get(upright.mode, 'Convert it to 8-bit RGB.')
        raise _refused(path, f'the mode {upright.mode}', hint)
    return np.asarray(upright.convert('RGB'))


def write_encrypted(path: Path, image: np.ndarray, note: Mapping[str, Any]) -> None:
    """Write an encrypted image without loss: PNG, or a TIFF of three 16-bit pages where it is uint16 (ffx).

    It is there whole or not at all.

    Args:
        path: Ends in ``.png``, for uint16 in ``.tiff``.
        image: RGB (H, W, 3), uint8 or uint16.
        note: What the file says of itself: ``spec_version``, ``key_id``, ``cipher``, ``padding_size``, ``size``.
    """
    text = json.dumps(dict(note))
    with replacing(path) as temporary:
        if image.dtype == np.uint16:
            pages = [Image.fromarray(np.ascontiguousarray(image[..., c])) for c in range(3)]
            info = {_TIFF_DESCRIPTION: text}
            pages[0].save(
                temporary, 'TIFF', compression='tiff_deflate', save_all=True, append_images=pages[1:], tiffinfo=info
            )
            return
        info = PngImagePlugin.PngInfo()
        info.add_text(NOTE, text)
        Image.fromarray(image).save(temporary, 'PNG', pnginfo=info)


def read_encrypted(path: str | Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Read what :func:`write_encrypted` wrote.

    Returns:
        The image, RGB uint8 or uint16 (H, W, 3), and its note.

    Raises:
        ImageFormatError: The file cannot be read, or is not encrypted.
    """
    try:
        with Image.open(path) as image:
            note = read_note(image)
            if image.format == 'TIFF':
                pages = []
                for page in range(3):
                    image.seek(page)
                    pages.append(np.asarray(image).astype(np.uint16))
                return np.stack(pages, axis=-1), note
            return np.asarray(image.convert('RGB')), note
    except (OSError, SyntaxError, EOFError, UnidentifiedImageError) as error:
        raise ImageFormatError(f'Expected an encrypted image, but {path} cannot be read: {error}') from None
    except KeyError:
        raise ImageFormatError(
            f'Expected an encrypted image, but {path} has no note of mmseg-keyprotect. Encrypt it: '
            'python -m mmseg_keyprotect.client encrypt.'
        ) from None


def read_note(image: Image.Image) -> dict[str, Any]:
    """Return the note of an opened encrypted image.

    Raises:
        KeyError: It has none.
    """
    text = image.tag_v2[_TIFF_DESCRIPTION] if image.format == 'TIFF' else image.info[NOTE]
    note = json.loads(text)
    sizes = [note['padding_size'], note['size']]
    if not isinstance(note['key_id'], str) or not isinstance(note['cipher'], str):
        raise KeyError(NOTE)
    if [len(size) for size in sizes] != [4, 2] or not all(type(n) is int and n >= 0 for size in sizes for n in size):
        raise KeyError(NOTE)
    return note


def _refused(path: str | Path, found: str, hint: str) -> ImageFormatError:
    return ImageFormatError(f'Expected an 8-bit RGB or greyscale image, but {path} has {found}. {hint}')
