"""Implementations to compare the ciphers with. They share no code with the package."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import numpy as np
import torch
from torch import Tensor


class Published:
    """The published implementation: it reshapes, permutes and indexes float32 images, one cipher after another.

    Args:
        words: Names of ciphers in order: ``'shuffle'``, ``'negative-positive'``, ``'ffx'``.
        block_size: Block size M, in pixels.
        seed: Seed of the key.
    """

    def __init__(self, words: list[str], block_size: int, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        n = 3 * block_size**2
        self.block_size, self.words = block_size, words
        self.key = torch.randperm(n, generator=generator)
        self.keyed = self.key > n / 2
        self.table = torch.randperm(1000, generator=generator)[:256].float()

    def __call__(self, images: Tensor) -> Tensor:
        """Encrypt float images (N, 3, H, W) with values from 0 to 1."""
        m, (n, c, height, width) = self.block_size, images.shape
        blocks = images.permute(0, 2, 3, 1).reshape(n, height // m, m, width // m, m, c)
        blocks = blocks.permute(0, 1, 3, 2, 4, 5).reshape(n, height // m, width // m, m * m * c)
        for word in self.words:
            if word == 'shuffle':
                blocks = blocks[..., self.key]
            elif word == 'negative-positive':
                blocks = blocks.clone()
                blocks[..., self.keyed] = 1 - blocks[..., self.keyed]
            else:
                values = (blocks * 255).int()
                values[..., self.keyed] = self.table[values[..., self.keyed].long()].int()
                blocks = values.float() / self.table.max()
        blocks = blocks.reshape(n, height // m, width // m, m, m, c).permute(0, 1, 3, 2, 4, 5)
        return blocks.reshape(n, height, width, c).permute(0, 3, 1, 2).contiguous()


def naive_numpy(words: list[str], block_size: int, seed: int = 0) -> Callable[[np.ndarray], np.ndarray]:
    """Return a plain numpy encryption of uint8 images (H, W, 3), without any optimisation."""
    rng = np.random.default_rng(seed)
    m, n = block_size, 3 * block_size**2
    key, table = rng.permutation(n), rng.permutation(1000)[:256].astype(np.uint16)
    keyed = key < n // 2

    def shuffle(blocks: np.ndarray) -> np.ndarray:
        return blocks[..., key]

    def negative_positive(blocks: np.ndarray) -> np.ndarray:
        return np.where(keyed, 255 - blocks, blocks)

    def ffx(blocks: np.ndarray) -> np.ndarray:
        return np.where(keyed, table[blocks], blocks)

    steps = [
        dict(zip(('shuffle', 'negative-positive', 'ffx'), (shuffle, negative_positive, ffx), strict=True))[w]
        for w in words
    ]

    def encrypt(image: np.ndarray) -> np.ndarray:
        height, width, c = image.shape
        blocks = image.reshape(height // m, m, width // m, m, c).transpose(0, 2, 1, 3, 4).reshape(-1, width // m, n)
        blocks = reduce(lambda done, step: step(done), steps, blocks)
        return np.ascontiguousarray(
            blocks.reshape(height // m, width // m, m, m, c).transpose(0, 2, 1, 3, 4).reshape(height, width, c)
        )

    return encrypt
