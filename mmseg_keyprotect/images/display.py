"""Encrypted images at the size of their originals, for drawing predictions over them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmseg_keyprotect.errors import ImageFormatError
from mmseg_keyprotect.images.files import MAX_PIXELS, read_encrypted

MAX_SIDE = 1 << 16
"""The largest side that is drawn; the sizes in a note are not authenticated."""

MAX_FFX = 999
"""The largest sample of an image after FFX, which is uint16 (docs/spec.md, section 3)."""


def read_for_display(path: str | Path) -> npt.NDArray[np.uint8]:
    """Read an encrypted image, still encrypted, at the size of its original.

    Predictions have the size of the original, while the file has that of the model's input, in whole blocks. Tools that
    draw a prediction over its image need both at one size.

    Args:
        path: A file that ``keyprotect encrypt`` or :meth:`~mmseg_keyprotect.images.Encryptor.encrypt_file` wrote.

    Returns:
        RGB uint8 (H, W, 3). Samples after FFX are scaled to 0 to 255.

    Raises:
        MissingFileError: The file does not exist or cannot be opened.
        ImageFormatError: The file is not an encrypted image, or claims an original too large to draw.
        UnsupportedSpecError: The file has a newer version.

    Example:
        >>> from mmseg_keyprotect.images import Encryptor
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> Image.new('RGB', (30, 21)).save('street.jpg')
        >>> _ = Encryptor(SecretKey.generate(), resize=(16, 8)).encrypt_file('street.jpg', 'small.png')
        >>> read_for_display('small.png').shape
        (21, 30, 3)
    """
    image, note = read_encrypted(path)
    if image.dtype == np.uint16:
        image = (image * (255 / MAX_FFX)).astype(np.uint8)
    (_, right, _, bottom), (height, width) = note['padding_size'], note['size']
    image = image[: len(image) - bottom, : image.shape[1] - right]
    if height * width > MAX_PIXELS or max(height, width) > MAX_SIDE:
        raise ImageFormatError(
            f'Expected an original of at most {MAX_PIXELS} pixels and {MAX_SIDE} a side, but {path} claims {height} x '
            f'{width}. Draw over a smaller image.'
        )
    return np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize((width, height), Image.Resampling.NEAREST))
