"""What a cipher does to one block, and how several become one (docs/spec.md, section 3)."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.errors import ConfigError


class BlockTransform:
    """``y[k] = t[x[source[k]] XOR mask[k]]`` where ``keyed[k]``, else ``y[k] = x[source[k]] XOR mask[k]``.

    Shuffle, negative-positive and ffx, and every sequence of them, are of this form, so that a sequence costs one pass.

    Args:
        source: int64 (n,), a permutation. Defaults to the identity.
        mask: uint8 (n,), 0 or 255 (255 - x equals x XOR 255). Defaults to zeros.
        keyed: bool (n,), where the table is looked up. Defaults to nowhere.
        table: int16 (256,), distinct values from 0 to 999; None where nothing is looked up.
    """

    def __init__(
        self,
        source: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        keyed: np.ndarray | None = None,
        table: np.ndarray | None = None,
    ) -> None:
        n = next(len(array) for array in (source, mask, keyed) if array is not None)
        self.source = np.arange(n) if source is None else np.asarray(source, dtype=np.int64)
        self.mask = np.zeros(n, dtype=np.uint8) if mask is None else np.asarray(mask, dtype=np.uint8)
        self.keyed = np.zeros(n, dtype=bool) if keyed is None else np.asarray(keyed, dtype=bool)
        self.table = None if table is None else np.asarray(table, dtype=np.int16)

    @classmethod
    def flip(cls, keyed: np.ndarray) -> BlockTransform:
        """Return the one that inverts 8-bit samples at the keyed positions, bool (n,)."""
        return cls(mask=np.where(keyed, 255, 0))

    @property
    def samples(self) -> int:
        """The samples n of a block."""
        return len(self.source)

    @property
    def moves(self) -> bool:
        """Whether samples change places."""
        return bool((self.source != np.arange(self.samples)).any())

    def then(self, last: BlockTransform) -> BlockTransform:
        """Return this one followed by ``last`` as one; this one must look nothing up."""
        return BlockTransform(self.source[last.source], self.mask[last.source] ^ last.mask, last.keyed, last.table)

    def inverse(self) -> BlockTransform:
        """Return what undoes order and signs; the table stays out."""
        source = np.argsort(self.source)
        return BlockTransform(source, self.mask[source])

    def renamed(self, order: np.ndarray) -> BlockTransform:
        """Return the same transform of blocks whose samples are kept in another order.

        Args:
            order: int64 (n,); sample k of such a block is sample ``order[k]`` of the specification.
        """
        return BlockTransform(np.argsort(order)[self.source[order]], self.mask[order], self.keyed[order], self.table)

    def signed_permutation(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the transform of a block x of values around 0 as ``sign * x[source]``; 255 - x mirrors x at 127.5.

        Returns:
            ``source`` int64 (n,) and ``sign`` int8 (n,), 1 or -1.

        Raises:
            ConfigError: The transform is no signed permutation.
        """
        if self.table is not None:
            raise ConfigError(
                'Expected a cipher that a block stem can absorb, shuffle, negative-positive or both, but got ffx: it '
                'looks values up in a keyed table, which no convolution can undo. Use one of those ciphers, or train '
                'the model with its own stem.'
            )
        return self.source, np.where(self.mask > 0, np.int8(-1), np.int8(1))
