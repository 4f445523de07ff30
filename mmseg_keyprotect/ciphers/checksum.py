"""A checksum that ties the record of an encryption to the image that it was made for."""

from __future__ import annotations

import zlib

import numpy as np

from mmseg_keyprotect.ciphers.blocks import Array, dtype_name, is_tensor


def image_checksum(image: Array) -> int:
    """Return the CRC-32 of an encrypted image. It finds mistakes, not forgeries.

    An image has one checksum in a pipeline and in a preprocessor: that of its samples, channels first, as uint8 or
    float32.

    Args:
        image: ndarray (H, W) or (H, W, C), or tensor (C, H, W) on any device; uint8 or floating point.

    Example:
        >>> image_checksum(np.zeros((2, 2, 3), dtype=np.uint8)) == zlib.crc32(bytes(12))
        True
    """
    bytewise = dtype_name(image) == 'uint8'
    if is_tensor(image):
        planes = (image if bytewise else image.float()).detach().cpu().numpy()
    else:
        planes = image if image.ndim == 2 else image.transpose(2, 0, 1)
    return zlib.crc32(np.ascontiguousarray(planes, dtype=np.uint8 if bytewise else np.float32).data)
