"""A cipher together with where its key comes from: what transforms and preprocessors hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.blocks import Array, PaddingSize, dtype_name, is_tensor, pad_image, padding_to_blocks
from mmseg_keyprotect.ciphers.build import DEFAULT_CIPHER, CipherConfig, build_cipher
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError, ImageFormatError, WrongKeyError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.providers import build_key


class KeyedCipher:
    """Encrypts images as MMSegmentation has them; pickles and copies its configuration, never the key.

    Args:
        cipher: The cipher's configuration, see :func:`mmseg_keyprotect.ciphers.build_cipher`.
        key: The key's configuration, see :func:`mmseg_keyprotect.keys.providers.build_key`.
        key_id: If set, the id that the key must have.
        channel_order: ``'bgr'`` or ``'rgb'``, the order of the channels of 3-channel images.
        pad_mode: How images are extended to whole blocks: ``'replicate'`` (docs/spec.md, section 5).

    Raises:
        WrongKeyError: The key has another id than ``key_id``.
        KeyFileError: The key cannot be loaded.
        ConfigError: The cipher, the key, the channel order or the padding mode is not understood.
        WeakCipherError: See :func:`build_cipher`.
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
                f"Expected `pad_mode` to be 'replicate', the only one of spec version 1, but got {pad_mode!r}. "
                'A constant border would show key bits.'
            )
        if channel_order not in ('bgr', 'rgb'):
            raise ConfigError(f"Expected `channel_order` to be 'bgr' or 'rgb', but got {channel_order!r}.")
        self._config = dict(cipher=cipher, key=key, key_id=key_id, channel_order=channel_order)
        self.channel_order = channel_order
        self._key = None if _is_reference(cipher) else build_key(key)
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
        """Return the same cipher with another key; a reference cipher gets a seed derived from it."""
        config = {**self._config, 'key': key, 'key_id': None}
        cipher = config['cipher']
        parts = cipher if isinstance(cipher, list | tuple) else [cipher]
        if any('seed' in part for part in parts):
            seed = int.from_bytes(key.derive('reference-seed', 4), 'little')
            config['cipher'] = [{**part, 'seed': seed} for part in parts]
        return KeyedCipher(**config)

    def cipher_for(self, channels: int) -> BlockCipher:
        """Return the cipher for images of that many channels."""
        if channels not in self._ciphers:
            self._ciphers[channels] = build_cipher(self._config['cipher'], self._key, channels)
        return self._ciphers[channels]

    def encrypt(self, image: Array) -> tuple[Array, PaddingSize]:
        """Extend an image to whole blocks and encrypt it.

        Args:
            image: ndarray (H, W) or (H, W, C), or tensor (C, H, W), in the channel order of this object; uint8, or
                floating point with values from 0 to 255, which are rounded to whole numbers.

        Returns:
            The encrypted image as a network's input, 0 to 255, uint8 or (after FFX) float32, of the same layout; and
            how far it was extended. An array (H, W, C) lies in memory as (C, H, W), so that packing it costs no copy.

        Raises:
            ImageFormatError: The image has another type, rank, dtype, or values outside 0 to 255.
            BlockAlignmentError: The image is smaller than one block.
        """
        encrypted, padding = self.encrypt_raw(image, planes=True)
        return self.cipher_for(3).to_network_input(encrypted), padding

    def encrypt_raw(self, image: Array, planes: bool = False) -> tuple[Array, PaddingSize]:
        """Do as :meth:`encrypt`, but return the numbers of the format: after FFX 0 to 999, uint16 or int16.

        Args:
            image: As for :meth:`encrypt`.
            planes: Whether an array (H, W, C) shall lie in memory as (C, H, W).
        """
        tensor = is_tensor(image)
        image = as_uint8(image)
        if flat := not tensor and image.ndim == 2:
            image = image[..., None]
        if image.ndim != 3:
            raise ImageFormatError(
                f'Expected an image of shape {"(C, H, W)" if tensor else "(H, W) or (H, W, C)"}, '
                f'but got shape {tuple(image.shape)}.'
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
        """Return the cipher for images in BGR, since the format is RGB."""
        if self._bgr_cipher is None:
            self._bgr_cipher = cipher.renamed(np.array([2, 1, 0]))
        return self._bgr_cipher

    def __repr__(self) -> str:
        return f'<KeyedCipher {self.name} key_id={self.key_id}>'

    def __deepcopy__(self, memo: dict) -> KeyedCipher:
        return self

    def __reduce__(self) -> tuple:
        return _rebuild, (self._config,)


def _rebuild(config: dict[str, Any]) -> KeyedCipher:
    return KeyedCipher(**config)


def _is_reference(cipher: CipherConfig) -> bool:
    parts = cipher if isinstance(cipher, list | tuple) else [cipher]
    return all(isinstance(part, Mapping) and part.get('type') == 'ReferenceCipher' for part in parts)


def as_uint8(image: Array) -> Array:
    """Return an image as 8-bit, rounding floating point to the nearest whole number, half to even.

    Raises:
        ImageFormatError: Not an array or tensor, a dtype that is neither uint8 nor floating point, NaN, or values
            outside 0 to 255.
    """
    tensor = is_tensor(image)
    if not tensor and not isinstance(image, np.ndarray):
        raise ImageFormatError(f'Expected a numpy array or a torch tensor, but got {type(image).__name__}.')
    dtype = dtype_name(image)
    if dtype == 'uint8':
        return image
    if not dtype.startswith(('float', 'bfloat')):
        raise ImageFormatError(
            f'Expected an 8-bit image, uint8 or floating point from 0 to 255, but got {dtype}. '
            'Convert the image to 8 bits before it is encrypted.'
        )
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 255):  # NaN fails both
        raise ImageFormatError(
            f'Expected values from 0 to 255, but got {low} to {high}. '
            'Encrypt before the image is normalised, and mend NaN where the image is made.'
        )
    return image.round().byte() if tensor else image.round().astype(np.uint8)
