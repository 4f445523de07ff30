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
    """The public facts about a cipher for RGB images (specification, section 3).

    Args:
        word: The name of the cipher, for example ``shuffle+negative-positive``.
        block_size: M, in pixels.
        bits: log2 of the number of keys.
    """

    word: str
    block_size: int
    bits: float

    @classmethod
    def of(cls, cipher: BlockCipher | None) -> CipherInfo:
        """Return the facts about a cipher.

        Args:
            cipher: The cipher for three channels; None if images are plain.
        """
        return cls('none', 1, 0.0) if cipher is None else cls(cipher.word, cipher.block_size, cipher.key_space_bits)

    @property
    def samples(self) -> int:
        """The number n of samples of a block."""
        return 3 * self.block_size**2

    @property
    def has_order(self) -> bool:
        """Whether samples change places."""
        return 'shuffle' in self.word or 'SHF' in self.word

    @property
    def has_signs(self) -> bool:
        """Whether samples are inverted."""
        return 'negative-positive' in self.word or 'NP' in self.word

    @property
    def has_table(self) -> bool:
        """Whether samples are looked up in a table."""
        return 'ffx' in self.word or 'FFX' in self.word

    @property
    def reference(self) -> bool:
        """Whether the key comes from a seed of 32 bits (docs/spec.md, section 7)."""
        return 'reference' in self.word

    def blocks(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Cut images (H, W, 3) of whole blocks into blocks (N, n), in the order row, column, channel."""
        return np.concatenate([self.grid(image).reshape(-1, self.samples) for image in images])

    def grid(self, image: np.ndarray) -> np.ndarray:
        """Cut an image (H, W, 3) into its grid of blocks, (H / M, W / M, n)."""
        m, (height, width) = self.block_size, image.shape[:2]
        cells = image.reshape(height // m, m, width // m, m, 3)
        return cells.transpose(0, 2, 1, 3, 4).reshape(height // m, width // m, self.samples)

    def strip(self, blocks: np.ndarray) -> np.ndarray:
        """Put blocks (N, n) side by side into an image (M, N * M, 3)."""
        cells = blocks.reshape(len(blocks), self.block_size, self.block_size, 3)
        return np.ascontiguousarray(cells.transpose(1, 0, 2, 3).reshape(self.block_size, -1, 3))

    def whole_blocks(self, image: np.ndarray) -> np.ndarray:
        """Crop an image (H, W, ...) to whole blocks."""
        height, width = (size - size % self.block_size for size in image.shape[:2])
        return image[:height, :width]
