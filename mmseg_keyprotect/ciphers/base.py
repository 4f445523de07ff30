"""The base class of all block ciphers (docs/spec.md, sections 3 and 4)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from math import lgamma, log
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.blocks import Array, check_block_size, check_image, is_tensor
from mmseg_keyprotect.ciphers.kernels import Kernel
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError, LeakedKeyError
from mmseg_keyprotect.keys import SecretKey

MIN_KEY_BITS = 80.0
"""A cipher with fewer key bits is weak and is refused."""

MAX_KEY_BITS = 256.0
"""No cipher has more key bits than a secret key."""


def log2_factorial(n: int) -> float:
    """Return log2(n!).

    Example:
        >>> round(log2_factorial(48), 1)
        202.9
    """
    return lgamma(n + 1) / log(2)


def log2_binomial(n: int, k: int) -> float:
    """Return log2 of n choose k.

    Example:
        >>> round(log2_binomial(48, 24), 1)
        44.9
    """
    return log2_factorial(n) - log2_factorial(k) - log2_factorial(n - k)


_FACTS = ('word', 'has_order', 'has_signs', 'has_table', 'from_seed', 'max_value', 'key_space_bits')


class BlockCipher:
    """A keyed transform that is applied to every M x M block of an image and is exactly invertible.

    Build ciphers with :func:`mmseg_keyprotect.ciphers.build_cipher`, which also refuses weak ones. A cipher holds key
    material: it cannot be pickled, its repr shows only its public name, and a deep copy of it is the cipher itself.

    A new cipher is one subclass and one :func:`mmseg_keyprotect.ciphers.register_cipher`. It takes ``block_size``,
    ``key`` and ``channels``, sets ``transform`` and ``key_space_bits``, and states the facts below.

    Args:
        block_size: M, in pixels.
        key_id: The id of the secret key.
        channels: C, the number of channels of the images.

    Raises:
        BlockAlignmentError: The block size is not an integer of at least 1.

    Example:
        >>> cipher = build_cipher(dict(type='Shuffle', block_size=4), SecretKey.generate())
        >>> image = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
        >>> np.array_equal(cipher.decrypt(cipher.encrypt(image)), image)
        True
    """

    word: str
    """The word of the cipher in the specification, in names and on the command line."""

    has_order: bool = False
    """Whether the key moves samples to other positions."""

    has_signs: bool = False
    """Whether the key inverts samples, 255 - x."""

    has_table: bool = False
    """Whether the key looks samples up in a table."""

    from_seed: bool = False
    """Whether the key is a 32-bit seed in the configuration. Such a cipher needs no secret key and warns by itself."""

    selectable: bool = True
    """Whether the command line offers the cipher by its word. It then has the one parameter ``block_size``."""

    transform: BlockTransform
    """The transform of one block."""

    key_space_bits: float
    """log2 of the number of keys, at most 256 (docs/spec.md, section 4)."""

    max_value: int = 255
    """The largest sample of an encrypted image."""

    def __init__(self, block_size: int, key_id: str, channels: int = 3) -> None:
        self.block_size = check_block_size(block_size)
        self.channels = channels
        self.key_id = key_id

    @classmethod
    def from_config(cls, parameters: Mapping[str, Any], key: SecretKey | None, channels: int) -> BlockCipher:
        """Build the cipher that a configuration names.

        Args:
            parameters: The fields of the configuration, without ``type`` and ``allow_weak``.
            key: The secret key.
            channels: C, the number of channels of the images.

        Raises:
            ConfigError: There is no key.
            TypeError: A parameter is missing or unknown.
        """
        if not isinstance(key, SecretKey):
            raise ConfigError(
                f'Expected `key` to be a SecretKey for {cls.__name__}, but got {type(key).__name__}. Give the secret '
                'key.'
            )
        arguments: dict[str, Any] = dict(parameters, key=key, channels=channels)
        return cls(**arguments)

    @classmethod
    def rekeyed(cls, config: Mapping[str, Any], key: SecretKey) -> dict[str, Any]:
        """Return the configuration of the same cipher for another key; unchanged, unless it holds a key itself."""
        return dict(config.items())

    @property
    def samples(self) -> int:
        """The number n = M * M * C of samples of a block."""
        return self.block_size**2 * self.channels

    @property
    def name(self) -> str:
        """The public name, for example ``shuffle/M=4``."""
        return f'{self.word}/M={self.block_size}'

    def encrypt(self, image: Array) -> Array:
        """Encrypt an image.

        Args:
            image: uint8 ndarray (H, W, C), or uint8 tensor (C, H, W) or (N, C, H, W), in RGB, 0 to 255.

        Returns:
            An image of the same shape and type. With a table: uint16 (numpy) or int16 (torch), 0 to 999.

        Raises:
            ImageFormatError: The image has another type, rank, dtype or number of channels.
            BlockAlignmentError: H or W is not a multiple of M.

        Example:
            >>> cipher = build_cipher(dict(type='FFX', block_size=4), SecretKey.generate())
            >>> cipher.encrypt(np.zeros((4, 8, 3), dtype=np.uint8)).dtype
            dtype('uint16')
        """
        return self._apply('encrypt', image, 'uint8')

    def encrypt_to_planes(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Encrypt an array (H, W, C) and return it as (C, H, W), the layout of networks.

        The errors are those of :meth:`~mmseg_keyprotect.ciphers.BlockCipher.encrypt`.
        """
        check_image(image, self.block_size, self.channels, 'uint8')
        return self._kernel.encrypt(image, to='chw')

    def decrypt(self, image: Array) -> Array:
        """Invert :meth:`~mmseg_keyprotect.ciphers.BlockCipher.encrypt` exactly.

        Raises:
            ImageFormatError: The image has another type, rank, dtype or number of channels.
            BlockAlignmentError: H or W is not a multiple of M.
            WrongKeyError: A sample is not in the table of this key.
        """
        wide = 'int16' if is_tensor(image) else 'uint16'
        return self._apply('decrypt', image, 'uint8' if self.max_value == 255 else wide)

    def to_network_input(self, encrypted: Array) -> Array:
        """Scale an encrypted image to the range 0 to 255 that the normalisation of a network expects.

        Args:
            encrypted: As :meth:`~mmseg_keyprotect.ciphers.BlockCipher.encrypt` returns it.

        Returns:
            An 8-bit image unchanged; any other as float32, ``y * 255 / max_value``.
        """
        if self.max_value == 255:
            return encrypted
        scale = np.float32(255 / self.max_value)
        return encrypted.float() * float(scale) if is_tensor(encrypted) else encrypted.astype(np.float32) * scale

    def renamed(self, order: npt.NDArray[np.int64]) -> BlockCipher:
        """Return the same cipher for images whose channels are stored in another order, for example BGR.

        Args:
            order: int64 (C,). Channel c of such an image is channel ``order[c]`` of the specification.
        """
        pixels = np.arange(self.block_size**2)[:, None] * self.channels
        return self.with_transform(self.transform.renamed((pixels + order).reshape(-1)))

    def with_transform(self, transform: BlockTransform) -> BlockCipher:
        """Return a cipher with the same facts that applies ``transform`` to every block."""
        other = BlockCipher(self.block_size, self.key_id, self.channels)
        for fact in _FACTS:
            setattr(other, fact, getattr(self, fact))
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

    def __deepcopy__(self, memo: dict[int, Any]) -> BlockCipher:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LeakedKeyError(
            'Expected no pickling, because a cipher holds key material and is never pickled. '
            'Pickle its configuration and build it again with build_cipher.'
        )
