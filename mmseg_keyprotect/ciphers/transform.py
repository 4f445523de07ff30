"""The transform of one block, into which any sequence of ciphers folds (docs/spec.md, section 3)."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.errors import ConfigError, LeakedKeyError


class BlockTransform:
    """Maps the samples x of a block to y: permutes them, inverts some, and looks some up in a table.

    ``y[k] = t[x[source[k]] XOR mask[k]]`` where ``keyed[k]``, otherwise ``y[k] = x[source[k]] XOR mask[k]``. Shuffle,
    negative-positive, ffx and every sequence of them have this form, so that a sequence costs one pass.

    Args:
        source: int64 (n,), a permutation. Default: the identity.
        mask: uint8 (n,), 0 or 255; 255 - x equals x XOR 255. Default: zeros.
        keyed: bool (n,), True where the table is looked up. Default: nowhere.
        table: int16 (256,), distinct values from 0 to 999; None where nothing is looked up.

    Example:
        >>> invert_first = BlockTransform.flip(np.array([True, False]))
        >>> swap = BlockTransform(source=np.array([1, 0]))
        >>> invert_first.then(swap).mask.tolist()
        [0, 255]
    """

    def __init__(
        self,
        source: npt.NDArray[Any] | None = None,
        mask: npt.NDArray[Any] | None = None,
        keyed: npt.NDArray[np.bool_] | None = None,
        table: npt.NDArray[Any] | None = None,
    ) -> None:
        n = next(len(array) for array in (source, mask, keyed) if array is not None)
        self.source: npt.NDArray[np.int64] = np.arange(n) if source is None else np.asarray(source, dtype=np.int64)
        self.mask: npt.NDArray[np.uint8] = np.zeros(n, np.uint8) if mask is None else np.asarray(mask, dtype=np.uint8)
        self.keyed: npt.NDArray[np.bool_] = np.zeros(n, bool) if keyed is None else np.asarray(keyed, dtype=bool)
        self.table: npt.NDArray[np.int16] | None = None if table is None else np.asarray(table, dtype=np.int16)

    def __deepcopy__(self, memo: dict[int, Any]) -> BlockTransform:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise LeakedKeyError(
            'Expected no pickling, because a BlockTransform is key material. Pass the configuration of the cipher '
            'and of a key provider instead; the other process then derives it.'
        )

    @classmethod
    def flip(cls, keyed: npt.NDArray[np.bool_]) -> BlockTransform:
        """Return the transform that inverts 8-bit samples where ``keyed``, bool (n,), is True."""
        return cls(mask=np.where(keyed, 255, 0))

    @property
    def samples(self) -> int:
        """The number n of samples of a block."""
        return len(self.source)

    @property
    def moves(self) -> bool:
        """Whether any sample changes its position."""
        return bool((self.source != np.arange(self.samples)).any())

    def then(self, last: BlockTransform) -> BlockTransform:
        """Return this transform followed by ``last`` as one transform. This transform must not have a table."""
        return BlockTransform(self.source[last.source], self.mask[last.source] ^ last.mask, last.keyed, last.table)

    def inverse(self) -> BlockTransform:
        """Return the transform that undoes order and signs, without the table."""
        source = np.argsort(self.source)
        return BlockTransform(source, self.mask[source])

    def renamed(self, order: npt.NDArray[np.int64]) -> BlockTransform:
        """Return the same transform for blocks whose samples are stored in another order.

        Args:
            order: int64 (n,). Sample k of such a block is sample ``order[k]`` of the specification.
        """
        return BlockTransform(np.argsort(order)[self.source[order]], self.mask[order], self.keyed[order], self.table)

    def signed_permutation(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
        """Return the transform of a block x of centred values as ``sign * x[source]``.

        Centred values are x - 127.5, since 255 - x mirrors x at 127.5.

        Returns:
            ``source`` int64 (n,) and ``sign`` int8 (n,), 1 or -1.

        Raises:
            ConfigError: The transform has a table, so that it is not a signed permutation.
        """
        if self.table is not None:
            raise ConfigError(
                'Expected a cipher that a block stem can absorb, shuffle, negative-positive or both, but got one that '
                'looks values up in a keyed table, as ffx does. No convolution can undo that. Use one of those '
                'ciphers, or train the model with its own stem.'
            )
        return self.source, np.where(self.mask > 0, np.int8(-1), np.int8(1))
