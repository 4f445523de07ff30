"""The public facts about a cipher, and the division of images into its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.ciphers.base import BlockCipher

CENTRE = 127.5
"""The value at which 255 - x mirrors 8-bit samples."""


@dataclass(frozen=True)
class CipherInfo:
    """The public facts about a cipher (specification, section 3).

    Args:
        word: The name of the cipher, for example ``shuffle+negative-positive``.
        block_size: M, in pixels.
        bits: log2 of the number of keys.
        has_order: Whether the key moves samples to other positions.
        has_signs: Whether the key inverts samples.
        has_table: Whether the key looks samples up in a table.
        reference: Whether the key comes from a seed of 32 bits (docs/spec.md, section 7).
        channels: C, the number of channels of the images.
    """

    word: str
    block_size: int
    bits: float
    has_order: bool = False
    has_signs: bool = False
    has_table: bool = False
    reference: bool = False
    channels: int = 3

    @classmethod
    def of(cls, cipher: BlockCipher | None) -> CipherInfo:
        """Return the facts about a cipher.

        Args:
            cipher: The cipher for as many channels as the images have; None if images are plain.
        """
        if cipher is None:
            return cls('none', 1, 0.0)
        facts = cipher.has_order, cipher.has_signs, cipher.has_table, cipher.from_seed, cipher.channels
        return cls(cipher.word, cipher.block_size, cipher.key_space_bits, *facts)

    @property
    def samples(self) -> int:
        """The number n of samples of a block."""
        return self.channels * self.block_size**2

    def blocks(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Cut images (H, W, C) of whole blocks into blocks (N, n), in the order row, column, channel."""
        return np.concatenate([self.grid(image).reshape(-1, self.samples) for image in images])

    def grid(self, image: np.ndarray) -> np.ndarray:
        """Cut an image (H, W, C) into its grid of blocks, (H / M, W / M, n)."""
        m, (height, width) = self.block_size, image.shape[:2]
        cells = image.reshape(height // m, m, width // m, m, self.channels)
        return cells.transpose(0, 2, 1, 3, 4).reshape(height // m, width // m, self.samples)

    def image(self, grid: np.ndarray) -> np.ndarray:
        """Put a grid of blocks (rows, columns, n) together into an image (rows * M, columns * M, C)."""
        rows, columns, m = *grid.shape[:2], self.block_size
        cells = grid.reshape(rows, columns, m, m, self.channels)
        return np.ascontiguousarray(cells.transpose(0, 2, 1, 3, 4).reshape(rows * m, columns * m, self.channels))

    def whole_blocks(self, image: np.ndarray) -> np.ndarray:
        """Crop an image (H, W, ...) to whole blocks."""
        height, width = (size - size % self.block_size for size in image.shape[:2])
        return image[:height, :width]
