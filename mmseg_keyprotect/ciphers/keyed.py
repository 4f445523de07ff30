"""A cipher together with the place of its key, as transforms and preprocessors hold it."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.blocks import Array, PaddingSize, dtype_name, is_tensor, pad_image, padding_to_blocks
from mmseg_keyprotect.ciphers.build import DEFAULT_CIPHER, CipherConfig, build_cipher, needs_key, rekeyed
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError, ImageFormatError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.providers import build_key

_ROUNDING_ERROR = 1e-3
"""How far a value may be from a whole number: far more than float32's arithmetic errs, and far less than one level."""


class KeyedCipher:
    """Encrypts images in the layouts of MMSegmentation. A pickle of it holds its configuration, never the key.

    Args:
        cipher: The configuration of the cipher, see :func:`mmseg_keyprotect.ciphers.build_cipher`.
        key: The configuration of the key, see :func:`mmseg_keyprotect.keys.build_key`.
        key_id: If set, the id that the key must have.
        channel_order: ``'bgr'`` or ``'rgb'``, the order of the channels of 3-channel images.
        pad_mode: How images are extended to whole blocks; only ``'replicate'`` (docs/spec.md, section 5).

    Attributes:
        key_id (str): The id of the key.
        name (str): The public name of the cipher, for example ``shuffle/M=4``.
        block_size (int): M, in pixels.

    Raises:
        WrongKeyError: The key has another id than ``key_id``.
        KeyFileError: The key cannot be loaded.
        ConfigError: The cipher, the key, the channel order or the padding mode is not understood.
        WeakCipherError: The cipher has fewer than 80 key bits and ``allow_weak`` is not set.

    Example:
        >>> cipher = KeyedCipher(dict(type='Shuffle', block_size=4), SecretKey.generate())
        >>> image, padding = cipher.encrypt(np.zeros((5, 8, 3), dtype=np.uint8))
        >>> image.shape, padding
        ((8, 8, 3), (0, 0, 0, 3))
    """

    def __init__(
        self,
        cipher: CipherConfig = DEFAULT_CIPHER,
        key: Any = None,
        key_id: str | None = None,
        channel_order: str = 'bgr',
        pad_mode: str = 'replicate',
    ) -> None:
        if pad_mode != 'replicate':
            raise ConfigError(
                f"Expected `pad_mode` to be 'replicate', the only mode of spec version 1, but got {pad_mode!r}. "
                "Use 'replicate'; a constant border would reveal key bits."
            )
        if channel_order not in ('bgr', 'rgb'):
            raise ConfigError(f"Expected `channel_order` to be 'bgr' or 'rgb', but got {channel_order!r}. Use one.")
        self._config = dict(cipher=cipher, key=key, key_id=key_id, channel_order=channel_order)
        self.channel_order = channel_order
        self._key = build_key(key) if needs_key(cipher) else None
        self._ciphers: dict[int, BlockCipher] = {}
        self._bgr_cipher: BlockCipher | None = None
        rgb = self.cipher_for(3)
        self.key_id, self.name, self.block_size = rgb.key_id, rgb.name, rgb.block_size
        if key_id not in (None, self.key_id):
            raise WrongKeyError(
                f'Expected the key {key_id}, which the configuration names, but got the key {self.key_id}. '
                'Give the key file of that id, or take `key_id` out of the configuration.'
            )

    def with_key(self, key: SecretKey) -> KeyedCipher:
        """Return the same cipher with another key. A cipher from a seed gets a seed that is derived from the key."""
        cipher = rekeyed(self._config['cipher'], key)
        return KeyedCipher(**{**self._config, 'cipher': cipher, 'key': key, 'key_id': None})

    def cipher_for(self, channels: int) -> BlockCipher:
        """Return the cipher for images with that many channels; it is built once."""
        if channels not in self._ciphers:
            self._ciphers[channels] = build_cipher(self._config['cipher'], self._key, channels)
        return self._ciphers[channels]

    def encrypt(self, image: Array) -> tuple[Array, PaddingSize]:
        """Extend an image to whole blocks and encrypt it.

        Args:
            image: ndarray (H, W) or (H, W, C), or tensor (C, H, W), in the channel order of this object. 8-bit data:
                uint8, or floating point that holds whole numbers from 0 to 255.

        Returns:
            The encrypted image as network input, in the same layout: 0 to 255, uint8, or float32 for a cipher with a
            table. And its padding (left, right, top, bottom) in pixels. An array (H, W, C) is stored in memory as
            (C, H, W), so that packing it needs no copy.

        Raises:
            ImageFormatError: The image has another type, rank or dtype, or its values are not 8-bit data: fractions,
                values outside 0 to 255, or floating point that is all from 0 to 1.
            BlockAlignmentError: The image is smaller than one block.
        """
        encrypted, padding = self.encrypt_raw(image, planes=True)
        return self.cipher_for(3).to_network_input(encrypted), padding

    def encrypt_raw(self, image: Array, planes: bool = False) -> tuple[Array, PaddingSize]:
        """Extend and encrypt an image, and return the samples of the file format instead of network input.

        Args:
            image: As for :meth:`~mmseg_keyprotect.ciphers.KeyedCipher.encrypt`.
            planes: Whether to store an array (H, W, C) in memory as (C, H, W).

        Returns:
            The encrypted image, uint8, or for a cipher with a table uint16 (numpy) or int16 (torch), 0 to 999. And its
            padding.

        Raises:
            ImageFormatError: As for :meth:`~mmseg_keyprotect.ciphers.KeyedCipher.encrypt`.
            BlockAlignmentError: The image is smaller than one block.
        """
        tensor = is_tensor(image)
        image = as_uint8(image)
        if flat := not tensor and image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3:
            raise ImageFormatError(
                f'Expected an image of shape {"(C, H, W)" if tensor else "(H, W) or (H, W, C)"}, '
                f'but got shape {tuple(image.shape)}. Give one image at a time.'
            )
        cipher = self.cipher_for(image.shape[0 if tensor else -1])
        height, width = image.shape[1:] if tensor else image.shape[:2]
        if min(height, width) < cipher.block_size:
            raise BlockAlignmentError(
                f'Expected an image of at least one block, {cipher.block_size} x {cipher.block_size} pixels, '
                f'but got {height} x {width}. Use larger images or a smaller `block_size`.'
            )
        padding = padding_to_blocks(height, width, cipher.block_size)
        if self.channel_order == 'bgr' and cipher.channels == 3:
            cipher = self._bgr(cipher)
        image = pad_image(image, padding)
        if planes and not tensor:
            encrypted = cipher.encrypt_to_planes(image).transpose(1, 2, 0)
        else:
            encrypted = cipher.encrypt(image)
        return (encrypted[..., 0] if flat else encrypted), padding

    def _bgr(self, cipher: BlockCipher) -> BlockCipher:
        """Return the cipher for images in BGR; the format itself is RGB."""
        if self._bgr_cipher is None:
            self._bgr_cipher = cipher.renamed(np.array([2, 1, 0]))
        return self._bgr_cipher

    def __repr__(self) -> str:
        return f'<KeyedCipher {self.name} key_id={self.key_id}>'

    def __deepcopy__(self, memo: dict[int, Any]) -> KeyedCipher:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, ({**self._config, 'key_id': self.key_id},)  # another key must not be found there


def _rebuild(config: dict[str, Any]) -> KeyedCipher:
    return KeyedCipher(**config)


def as_uint8(image: Array) -> Array:
    """Return an 8-bit image as uint8, also one that is stored as floating point.

    Args:
        image: Array or tensor of any shape: uint8, or floating point that holds whole numbers from 0 to 255. Errors
            of 1/1000 are rounded away, such as those of a division by 255 and the multiplication that undoes it.

    Raises:
        ImageFormatError: The image is not an array or tensor, or it is not 8-bit data: it has another dtype, NaN,
            fractions, values outside 0 to 255, or floating point values that are all from 0 to 1 and not all 0.

    Example:
        >>> as_uint8(np.array([0.0, 254.0])).tolist()
        [0, 254]
    """
    tensor = is_tensor(image)
    if not tensor and not isinstance(image, np.ndarray):
        raise ImageFormatError(f'Expected a numpy array or a torch tensor, but got {type(image).__name__}. Convert it.')
    dtype = dtype_name(image)
    if dtype == 'uint8':
        return image
    if not dtype.startswith(('float', 'bfloat')):
        raise ImageFormatError(
            f'Expected an 8-bit image, uint8 or floating point from 0 to 255, but got {dtype}. '
            'Convert the image to 8 bits before it is encrypted.'
        )
    low, high, rounded = float(image.min()), float(image.max()), image.round()
    if not (low >= 0 and high <= 255):  # NaN fails both
        raise ImageFormatError(
            f'Expected values from 0 to 255, but got {low} to {high}. Take Normalize, or what else changes the range, '
            'out of the pipeline: the data preprocessor normalises after the encryption. Remove NaN where it is made.'
        )
    if 0 < high <= 1:
        raise ImageFormatError(
            f'Expected values from 0 to 255, but got {low} to {high}, as of an image that was divided by 255. Take '
            'the division out (Normalize, ToTensor or `/ 255`), or give uint8 where 0 and 1 are levels out of 256.'
        )
    if float(abs(image - rounded).max()) > _ROUNDING_ERROR:
        raise ImageFormatError(
            'Expected an 8-bit image, whole numbers from 0 to 255, but got fractions. Take out what makes them: '
            'Normalize, or `to_float32=True` of LoadImageFromFile before a resize or rotation. If another step makes '
            'them, round its result and convert it to uint8.'
        )
    return rounded.byte() if tensor else rounded.astype(np.uint8)
