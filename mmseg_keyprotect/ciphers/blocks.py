"""Cutting images into blocks and padding them to whole blocks (docs/spec.md, sections 3 and 5).

Arrays are numpy (H, W, C) or torch (N, C, H, W); torch is never imported here, only used when it is handed in.
"""

from __future__ import annotations

import operator
import sys
from typing import Any, TypeAlias

import numpy as np

from mmseg_keyprotect.errors import BlockAlignmentError, ImageFormatError

Array: TypeAlias = Any
"""A numpy array or a torch tensor."""

PaddingSize: TypeAlias = tuple[int, int, int, int]
"""(left, right, top, bottom), in pixels."""

_UINT8 = np.dtype(np.uint8)


def is_tensor(x: object) -> bool:
    """Tell whether ``x`` is a torch tensor, without importing torch."""
    torch = sys.modules.get('torch')
    return torch is not None and isinstance(x, torch.Tensor)


def check_block_size(block_size: int) -> int:
    """Return the block size as an int.

    Raises:
        BlockAlignmentError: It is not an integer of at least 1.
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
    return size


def round_to_blocks(size: int, block_size: int) -> int:
    """Return the multiple of ``block_size`` nearest to ``size``: at least one block, the larger one in a tie."""
    return max(1, (2 * size + block_size) // (2 * block_size)) * block_size


def padding_to_blocks(height: int, width: int, block_size: int) -> PaddingSize:
    """Say how far an image must be extended to be made of whole blocks.

    Args:
        height: Of the image, in pixels.
        width: Of the image, in pixels.
        block_size: M, in pixels.

    Returns:
        (left, right, top, bottom) in pixels; left and top are always 0.
    """
    return (0, -width % block_size, 0, -height % block_size)


def pad_image(image: Array, padding: PaddingSize) -> Array:
    """Extend an image at the right and the bottom by its last column and row.

    Args:
        image: ndarray (H, W) or (H, W, C), or tensor (..., H, W), of any dtype.
        padding: As from :func:`padding_to_blocks`.

    Returns:
        The extended image of the same type; the image itself where there is nothing to add.
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


def pad_label(label: np.ndarray, padding: PaddingSize, seg_pad_val: int = 255) -> np.ndarray:
    """Extend a label map (H, W) at the right and the bottom by the ignore index ``seg_pad_val``, if at all."""
    _, right, _, bottom = padding
    if not (right or bottom):
        return label
    return np.pad(label, [(0, bottom), (0, right)], mode='constant', constant_values=seg_pad_val)


def dtype_name(image: Array) -> str:
    """Return the name of an image's dtype, such as ``uint8``, whether numpy's or torch's."""
    dtype = image.dtype
    return 'uint8' if dtype is _UINT8 else str(dtype).removeprefix('torch.')  # numpy takes long to name one


def check_image(image: Array, block_size: int, channels: int, wanted: str) -> None:
    """Check what a cipher is given.

    Args:
        image: What should be an ndarray (H, W, C), or a tensor (C, H, W) or (N, C, H, W).
        block_size: M, of which H and W must be multiples.
        channels: C.
        wanted: The name of the dtype.

    Raises:
        ImageFormatError: Another type, rank, dtype or number of channels.
        BlockAlignmentError: H or W is not a multiple of M.
    """
    tensor = is_tensor(image)
    if not tensor and not isinstance(image, np.ndarray):
        raise ImageFormatError(f'Expected a numpy array or a torch tensor, but got {type(image).__name__}.')
    ranks, layout = ((3, 4), '(C, H, W) or (N, C, H, W)') if tensor else ((3,), '(H, W, C)')
    if image.ndim not in ranks:
        raise ImageFormatError(
            f'Expected an image of shape {layout}, but got shape {tuple(image.shape)}. '
            'Add the missing axis, or take the superfluous one away.'
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
