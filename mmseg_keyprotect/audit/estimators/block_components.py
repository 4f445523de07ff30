"""What a key does not change in one image: the principal components of its blocks."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.audit.cipher_info import CENTRE
from mmseg_keyprotect.ciphers.transform import BlockTransform

COMPONENTS = 12
"""The number of components of each block."""


def block_components(grid: np.ndarray) -> np.ndarray:
    """Return the scores of the blocks of one image on the principal components of these blocks.

    A key that moves samples and inverts some rotates the space of blocks around grey. The components turn with it, so
    that the scores stay the same, whatever the key is. The sign of a component is the one with positive skewness. Where
    some samples are looked up in a table, which shows by values above 255, the others alone count.

    Args:
        grid: An encrypted or plain image in blocks, (rows, columns, n).

    Returns:
        float32 (rows, columns, 12), with deviation 1; components that an image lacks are 0.
    """
    kept = grid.max((0, 1)) <= 255
    kept |= not kept.any()
    blocks = grid[..., kept].reshape(-1, kept.sum()).astype(np.float64) - CENTRE
    centred = blocks - blocks.mean(0)
    wide = len(centred) < centred.shape[1]
    values, vectors = np.linalg.eigh(centred @ centred.T if wide else centred.T @ centred)
    values, vectors = values[::-1][:COMPONENTS], vectors[:, ::-1][:, :COMPONENTS]
    real = values > 1e-9 * max(values[0], 1.0)
    axes = vectors[:, real]
    if wide:
        axes = centred.T @ axes / np.sqrt(values[real])
    own = centred @ axes
    scale = np.where((own**3).sum(0) < 0, -1, 1) / own.std(0)
    found = np.zeros((len(blocks), COMPONENTS), dtype=np.float32)
    found[:, : real.sum()] = blocks @ axes * scale
    return found.reshape(*grid.shape[:2], COMPONENTS)


def apply_key(grid: np.ndarray, key: BlockTransform) -> np.ndarray:
    """Encrypt plain blocks, uint8 (rows, columns, n): int64 of the same shape."""
    moved = (grid[..., key.source] ^ key.mask).astype(np.int64)
    return moved if key.table is None else np.where(key.keyed, key.table[moved].astype(np.int64), moved)
