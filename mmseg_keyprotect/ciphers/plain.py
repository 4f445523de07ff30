"""Plain images for a user without a key, with the interface of a keyed cipher."""

from __future__ import annotations

from mmseg_keyprotect.ciphers.blocks import (
    Array,
    PaddingSize,
    check_block_size,
    is_tensor,
    pad_image,
    padding_to_blocks,
)


class PlainImages:
    """Leaves images plain and only extends them to whole blocks, because a network may need those.

    Args:
        block_size: M, in pixels.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> import numpy as np
        >>> image, padding = PlainImages(4).encrypt(np.zeros((5, 8, 3), dtype=np.uint8))
        >>> image.shape, padding
        ((8, 8, 3), (0, 0, 0, 3))
    """

    def __init__(self, block_size: int) -> None:
        self.block_size = check_block_size(block_size)

    def encrypt(self, image: Array) -> tuple[Array, PaddingSize]:
        """Extend an image to whole blocks.

        Args:
            image: ndarray (H, W) or (H, W, C), or tensor (C, H, W), of any dtype.

        Returns:
            The extended image, and its padding (left, right, top, bottom) in pixels.
        """
        height, width = image.shape[-2:] if is_tensor(image) else image.shape[:2]
        padding = padding_to_blocks(height, width, self.block_size)
        return pad_image(image, padding), padding
