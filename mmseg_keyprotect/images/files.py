"""Image files: plain ones of any usual kind to read, encrypted ones without loss (docs/spec.md, section 10)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin, UnidentifiedImageError

from mmseg_keyprotect.errors import ImageFormatError, UnsupportedSpecError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.version import SPEC_VERSION

SUFFIXES = ('.jpg', '.jpeg', '.png', '.tif', '.tiff', '.webp')
MAX_PIXELS = 1 << 28
"""Of an image before it was resized, as an encrypted one may say: more would exhaust the memory of who believes it."""

NOTE = 'mmseg-keyprotect'
"""The name of the note in a PNG file; a TIFF has it as its description."""

_TO_RGB = ('RGB', 'L', '1', 'P')
_TIFF_DESCRIPTION, _TIFF_BITS = 270, 258
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, UnidentifiedImageError)


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
            if _bits(image) > 8:  # Pillow would cut 16-bit colours down to 8 without a word
                raise _refused(path, f'{_bits(image)} bits a sample', 'Convert it to 8-bit RGB.')
            image.load()
            upright = ImageOps.exif_transpose(image)
    except _UNREADABLE as error:
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

    It is there whole or not at all, and never in the place of another file.

    Args:
        path: Ends in ``.png``, for uint16 in ``.tiff``.
        image: RGB (H, W, 3), uint8 or uint16.
        note: What the file says of itself: ``spec_version``, ``key_id``, ``cipher``, ``padding_size``, ``size``.
    """
    text = json.dumps(dict(note))
    with new_file(path) as temporary:
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
        UnsupportedSpecError: It is of a newer version.
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
    except _UNREADABLE as error:
        raise ImageFormatError(f'Expected an encrypted image, but {path} cannot be read: {error}') from None
    except KeyError:
        raise ImageFormatError(
            f'Expected an encrypted image, but {path} has no note of mmseg-keyprotect. Encrypt it: '
            'python -m mmseg_keyprotect.images encrypt.'
        ) from None


def read_note(image: Image.Image) -> dict[str, Any]:
    """Return the note of an opened encrypted image. Nobody vouches for it, so it is taken as hostile.

    Raises:
        KeyError: It has none, or one that makes no sense.
        UnsupportedSpecError: It is of a newer version.
    """
    text = image.tag_v2[_TIFF_DESCRIPTION] if image.format == 'TIFF' else image.info[NOTE]
    try:
        note = json.loads(text)
        version, padding, size = note['spec_version'], note['padding_size'], note['size']
        named = isinstance(note['key_id'], str) and isinstance(note['cipher'], str)
        whole = all(type(n) is int for n in (version, *padding, *size)) and (len(padding), len(size)) == (4, 2)
    except (ValueError, TypeError, RecursionError):
        raise KeyError(NOTE) from None
    if not (named and whole) or version < 1:
        raise KeyError(NOTE)
    if version > SPEC_VERSION:
        raise UnsupportedSpecError(
            f'Expected an image of specification version {SPEC_VERSION} at most, but got version {version}. '
            'Install a newer mmseg-keyprotect.'
        )
    left, right, top, bottom = padding
    fits = (left, top) == (0, 0) and 0 <= right < image.width and 0 <= bottom < image.height
    if not fits or min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise KeyError(NOTE)
    return note


def _bits(image: Image.Image) -> int:
    """Return the bits of a sample in the file, where the format may have more than 8."""
    if image.format == 'TIFF':
        return max(image.tag_v2.get(_TIFF_BITS, (8,)))
    raw = str(image.tile[0][3]) if image.format == 'PNG' and image.tile else ''
    return 16 if '16' in raw else 8


def _refused(path: str | Path, found: str, hint: str) -> ImageFormatError:
    return ImageFormatError(f'Expected an 8-bit RGB or greyscale image, but {path} has {found}. {hint}')
