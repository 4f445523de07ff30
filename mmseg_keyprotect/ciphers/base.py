"""What all block ciphers share (docs/spec.md, sections 3 and 4)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from math import lgamma, log
from typing import Any, NoReturn

import numpy as np

from mmseg_keyprotect.ciphers.blocks import Array, check_block_size, check_image, from_blocks, is_tensor, to_blocks
from mmseg_keyprotect.errors import ConfigError, LeakedKeyError

MAX_KEY_BITS = 256.0
"""No cipher has more keys than there are secrets."""


def log2_factorial(n: int) -> float:
    """Return log2(n!)."""
    return lgamma(n + 1) / log(2)


def log2_binomial(n: int, k: int) -> float:
    """Return log2 of n choose k."""
    return log2_factorial(n) - log2_factorial(k) - log2_factorial(n - k)


class BlockOp(ABC):
    """A fixed transform of flattened blocks and its exact inverse, on numpy arrays and on torch tensors."""

    def __init__(self) -> None:
        self._tensors: dict[tuple[str, Any], Any] = {}

    @abstractmethod
    def encrypt(self, blocks: Array) -> Array:
        """Transform blocks (..., n)."""

    @abstractmethod
    def decrypt(self, blocks: Array) -> Array:
        """Invert :meth:`encrypt`."""

    def signed_permutation(self, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the transform of a block x of ``samples`` values around 0 as ``sign * x[source]``.

        Returns:
            ``source`` int64 (n,) and ``sign`` int8 (n,), 1 or -1.

        Raises:
            ConfigError: The transform is no signed permutation.
        """
        raise ConfigError(
            'Expected a cipher that a block stem can absorb, shuffle, negative-positive or both, but got ffx: it looks '
            'values up in a keyed table, which no convolution can undo. Use one of those ciphers, or train the model '
            'with its own stem.'
        )

    def constant(self, name: str, like: Array) -> Array:
        """Return the numpy attribute ``name`` in the library, and on the device, of ``like``."""
        array = getattr(self, name)
        if not is_tensor(like):
            return array
        place = (name, like.device)
        if place not in self._tensors:
            import torch

            self._tensors[place] = torch.from_numpy(array).to(like.device)
        return self._tensors[place]


class BlockCipher:
    """The same keyed transform of every M x M block of an image, exactly invertible.

    Build ciphers with :func:`mmseg_keyprotect.ciphers.build_cipher`, which also refuses weak ones. A cipher holds key
    material: it cannot be pickled, it prints its public name only, and a deep copy of it is itself.

    Args:
        block_size: M, in pixels.
        key_id: Of the secret key.
        channels: C, the channels of the images.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.
    """

    word: str
    """The cipher's word in specifications and labels."""

    op: BlockOp
    """What happens to the blocks."""

    key_space_bits: float
    """log2 of the number of keys, at most 256 (docs/spec.md, section 4)."""

    max_value: int = 255
    """The largest sample of an encrypted image."""

    def __init__(self, block_size: int, key_id: str, channels: int = 3) -> None:
        self.block_size = check_block_size(block_size)
        self.channels = channels
        self.key_id = key_id

    @property
    def samples(self) -> int:
        """The samples n = M * M * C of a block."""
        return self.block_size**2 * self.channels

    @property
    def name(self) -> str:
        """The public description, for example ``shuffle/M=4``."""
        return f'{self.word}/M={self.block_size}'

    def encrypt(self, image: Array) -> Array:
        """Encrypt an image.

        Args:
            image: uint8 ndarray (H, W, C), or uint8 tensor (C, H, W) or (N, C, H, W), in RGB, 0 to 255.

        Returns:
            An image of the same shape and type; after FFX uint16 (numpy) or int16 (torch), 0 to 999.

        Raises:
            ImageFormatError: The image has another type, rank, dtype or number of channels.
            BlockAlignmentError: H or W is not a multiple of M.
        """
        return self._apply(self.op.encrypt, image, 'uint8')

    def decrypt(self, image: Array) -> Array:
        """Invert :meth:`encrypt` exactly.

        Raises:
            ImageFormatError: The image has another type, rank, dtype or number of channels.
            BlockAlignmentError: H or W is not a multiple of M.
            WrongKeyError: FFX met a value that this key never produces.
        """
        wide = 'int16' if is_tensor(image) else 'uint16'
        return self._apply(self.op.decrypt, image, 'uint8' if self.max_value == 255 else wide)

    def to_network_input(self, encrypted: Array) -> Array:
        """Scale an encrypted image to the range 0 to 255 that a network's normalisation expects.

        Args:
            encrypted: What :meth:`encrypt` returned.

        Returns:
            8-bit images as they are; the others as float32, ``y * 255 / max_value``.
        """
        if self.max_value == 255:
            return encrypted
        scale = np.float32(255 / self.max_value)
        return encrypted.float() * float(scale) if is_tensor(encrypted) else encrypted.astype(np.float32) * scale

    def _apply(self, transform: Callable[[Array], Array], image: Array, dtype: str) -> Array:
        check_image(image, self.block_size, self.channels, dtype)
        if is_tensor(image) and image.ndim == 3:
            return self._apply(transform, image[None], dtype)[0]
        return from_blocks(transform(to_blocks(image, self.block_size)), self.block_size)

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.name} channels={self.channels} key_id={self.key_id}>'

    def __deepcopy__(self, memo: dict) -> BlockCipher:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LeakedKeyError(
            'Expected a cipher never to be pickled, since it holds key material. '
            'Pickle its configuration and build it again with build_cipher.'
        )
