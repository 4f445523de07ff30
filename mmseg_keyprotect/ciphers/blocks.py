"""Cutting images into blocks and padding them to whole blocks (docs/spec.md, sections 3 and 5).

Images are numpy arrays (H, W, C) or torch tensors (N, C, H, W). torch is imported only for a tensor.
"""

from __future__ import annotations

import operator
import sys
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.errors import BlockAlignmentError, ImageFormatError

Array: TypeAlias = Any
"""A numpy array or a torch tensor. It is untyped, since torch may be missing."""

PaddingSize: TypeAlias = tuple[int, int, int, int]
"""(left, right, top, bottom), in pixels."""

_UINT8 = np.dtype(np.uint8)


def is_tensor(x: object) -> bool:
    """Tell whether ``x`` is a torch tensor, without importing torch.

    Example:
        >>> is_tensor(np.zeros(3))
        False
    """
    torch = sys.modules.get('torch')
    return torch is not None and isinstance(x, torch.Tensor)


MAX_BLOCK_SIZE = 512
"""Deriving the order of a block takes time with its samples: about 6 s for three channels of 512 x 512."""


def check_block_size(block_size: int) -> int:
    """Return the block size as an int.

    Raises:
        BlockAlignmentError: The block size is not an integer from 1 to 512.

    Example:
        >>> check_block_size(np.int64(4))
        4
    """
    try:
        if isinstance(block_size, bool):
            raise TypeError
        size = operator.index(block_size)
    except TypeError:
        raise BlockAlignmentError(
            f'Expected `block_size` to be an integer, but got {block_size!r}. Use for example 4.'
        ) from None
    if size < 1:
        raise BlockAlignmentError(f'Expected `block_size` to be at least 1, but got {size}. Use for example 4.')
    if size > MAX_BLOCK_SIZE:
        raise BlockAlignmentError(
            f'Expected `block_size` to be at most {MAX_BLOCK_SIZE}, but got a larger number. Use for example 4.'
        )
    return size


def round_to_blocks(size: int, block_size: int) -> int:
    """Return the multiple of ``block_size`` nearest to ``size``, at least one block; in a tie the larger one.

    Example:
        >>> round_to_blocks(10, 4), round_to_blocks(1, 4)
        (12, 4)
    """
    return max(1, (2 * size + block_size) // (2 * block_size)) * block_size


def padding_to_blocks(height: int, width: int, block_size: int) -> PaddingSize:
    """Return by how much an image must be extended to consist of whole blocks.

    Args:
        height: Height of the image, in pixels.
        width: Width of the image, in pixels.
        block_size: M, in pixels.

    Returns:
        (left, right, top, bottom) in pixels; left and top are always 0.

    Example:
        >>> padding_to_blocks(5, 8, block_size=4)
        (0, 0, 0, 3)
    """
    return (0, -width % block_size, 0, -height % block_size)


def pad_image(image: Array, padding: PaddingSize) -> Array:
    """Extend an image at the right and at the bottom by repeating its last column and row.

    Args:
        image: ndarray (H, W) or (H, W, C), or tensor (..., H, W), of any dtype.
        padding: As from :func:`mmseg_keyprotect.ciphers.padding_to_blocks`.

    Returns:
        The extended image of the same type; the image itself where there is nothing to add.

    Example:
        >>> pad_image(np.zeros((5, 8, 3), dtype=np.uint8), (0, 0, 0, 3)).shape
        (8, 8, 3)
    """
    _, right, _, bottom = padding
    if not (right or bottom):
        return image
    if not is_tensor(image):
        return np.pad(image, [(0, bottom), (0, right)] + [(0, 0)] * (image.ndim - 2), mode='edge')
    import torch

    height, width = image.shape[-2:]
    rows = torch.arange(height + bottom, device=image.device).clamp_(max=height - 1)
    columns = torch.arange(width + right, device=image.device).clamp_(max=width - 1)
    return image.index_select(-2, rows).index_select(-1, columns)


def pad_label(label: npt.NDArray[Any], padding: PaddingSize, seg_pad_val: float = 255) -> npt.NDArray[Any]:
    """Extend a label map at the right and at the bottom with the value that its loss ignores.

    Args:
        label: (H, W) or (H, W, C), of any dtype.
        padding: As from :func:`mmseg_keyprotect.ciphers.padding_to_blocks`.
        seg_pad_val: The value, for a segmentation map the ignore index.

    Returns:
        The extended label map; the label map itself where there is nothing to add.

    Example:
        >>> pad_label(np.zeros((1, 2), dtype=np.uint8), (0, 1, 0, 0)).tolist()
        [[0, 0, 255]]
    """
    _, right, _, bottom = padding
    if not (right or bottom):
        return label
    sides = [(0, bottom), (0, right)] + [(0, 0)] * (label.ndim - 2)
    return np.pad(label, sides, mode='constant', constant_values=seg_pad_val)


def dtype_name(image: Array) -> str:
    """Return the name of the dtype of an array or a tensor, for example ``uint8``."""
    dtype = image.dtype
    return 'uint8' if dtype is _UINT8 else str(dtype).removeprefix('torch.')  # str() of a numpy dtype is slow


def check_image(image: Array, block_size: int, channels: int, wanted: str) -> None:
    """Check the type, shape and dtype of an image before a cipher processes it.

    Args:
        image: Must be an ndarray (H, W, C), or a tensor (C, H, W) or (N, C, H, W).
        block_size: M; H and W must be multiples of it.
        channels: C.
        wanted: The name of the dtype.

    Raises:
        ImageFormatError: The image has another type, rank, dtype or number of channels.
        BlockAlignmentError: H or W is not a multiple of M.
    """
    tensor = is_tensor(image)
    if not tensor and not isinstance(image, np.ndarray):
        raise ImageFormatError(f'Expected a numpy array or a torch tensor, but got {type(image).__name__}. Convert it.')
    ranks, layout = ((3, 4), '(C, H, W) or (N, C, H, W)') if tensor else ((3,), '(H, W, C)')
    if image.ndim not in ranks:
        raise ImageFormatError(
            f'Expected an image of shape {layout}, but got shape {tuple(image.shape)}. '
            'Add the missing axis, or remove the superfluous one.'
        )
    if dtype_name(image) != wanted:
        raise ImageFormatError(
            f'Expected an image of dtype {wanted}, but got {dtype_name(image)}. '
            'Encrypt the raw 8-bit image, before any normalisation.'
        )
    got = image.shape[-3] if tensor else image.shape[-1]
    if got != channels:
        raise ImageFormatError(
            f'Expected an image of {channels} channels, shape {layout}, but got {got} in shape {tuple(image.shape)}. '
            'Build the cipher with the `channels` of the images.'
        )
    height, width = image.shape[-2:] if tensor else image.shape[:2]
    if height % block_size or width % block_size or not height or not width:
        raise BlockAlignmentError(
            f'Expected height and width to be multiples of the block size {block_size}, but got {height} x {width}. '
            'Extend the image first: pad_image(image, padding_to_blocks(height, width, block_size)).'
        )
