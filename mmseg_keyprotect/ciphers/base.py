"""What all block ciphers share (docs/spec.md, sections 3 and 4)."""

from __future__ import annotations

from functools import cached_property
from math import lgamma, log
from typing import Any, NoReturn

import numpy as np

from mmseg_keyprotect.ciphers.blocks import Array, check_block_size, check_image, is_tensor
from mmseg_keyprotect.ciphers.kernels import Kernel
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import LeakedKeyError

MAX_KEY_BITS = 256.0
"""No cipher has more keys than there are secrets."""


def log2_factorial(n: int) -> float:
    """Return log2(n!)."""
    return lgamma(n + 1) / log(2)


def log2_binomial(n: int, k: int) -> float:
    """Return log2 of n choose k."""
    return log2_factorial(n) - log2_factorial(k) - log2_factorial(n - k)


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

    transform: BlockTransform
    """What happens to every block."""

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
        return self._apply('encrypt', image, 'uint8')

    def encrypt_to_planes(self, image: np.ndarray) -> np.ndarray:
        """Do as :meth:`encrypt` with an array (H, W, C), but keep the result as (C, H, W), as networks take it."""
        check_image(image, self.block_size, self.channels, 'uint8')
        return self._kernel.encrypt(image, to='chw')

    def decrypt(self, image: Array) -> Array:
        """Invert :meth:`encrypt` exactly.

        Raises:
            ImageFormatError: The image has another type, rank, dtype or number of channels.
            BlockAlignmentError: H or W is not a multiple of M.
            WrongKeyError: FFX met a value that this key never produces.
        """
        wide = 'int16' if is_tensor(image) else 'uint16'
        return self._apply('decrypt', image, 'uint8' if self.max_value == 255 else wide)

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

    def renamed(self, order: np.ndarray) -> BlockCipher:
        """Return the same cipher for images whose channels are kept in another order, for example BGR.

        Args:
            order: int64 (C,); channel c of such an image is channel ``order[c]`` of the specification.
        """
        pixels = np.arange(self.block_size**2)[:, None] * self.channels
        return self.with_transform(self.transform.renamed((pixels + order).reshape(-1)))

    def with_transform(self, transform: BlockTransform) -> BlockCipher:
        """Return a cipher like this one that does ``transform`` to every block."""
        other = BlockCipher(self.block_size, self.key_id, self.channels)
        other.word, other.max_value, other.key_space_bits = self.word, self.max_value, self.key_space_bits
        other.transform = transform
        return other

    @cached_property
    def _kernel(self) -> Kernel:
        return Kernel(self.transform, self.block_size, self.channels)

    @cached_property
    def _torch_kernel(self) -> Any:
        from mmseg_keyprotect.ciphers.torch_kernels import TorchKernel

        return TorchKernel(self._kernel)

    def _apply(self, action: str, image: Array, dtype: str) -> Array:
        check_image(image, self.block_size, self.channels, dtype)
        if not is_tensor(image):
            return getattr(self._kernel, action)(image)
        done = getattr(self._torch_kernel, action)(image if image.ndim == 4 else image[None])
        return done if image.ndim == 4 else done[0]

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self.name} channels={self.channels} key_id={self.key_id}>'

    def __deepcopy__(self, memo: dict) -> BlockCipher:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LeakedKeyError(
            'Expected a cipher never to be pickled, since it holds key material. '
            'Pickle its configuration and build it again with build_cipher.'
        )
