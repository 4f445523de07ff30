"""Encrypting images and image files as the pipeline of a model would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, KeyedCipher
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.ciphers.keyed import as_uint8
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    ConfigError,
    ImageFormatError,
    MissingFileError,
    OutputError,
)
from mmseg_keyprotect.images.files import is_encrypted, read_encrypted, read_image, write_encrypted
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.version import SPEC_VERSION


class Encryptor:
    """Encrypts images as the pipeline of a model would.

    Args:
        key: The secret key.
        cipher: The cipher of the model. Default: Shuffle, then NegativePositive, M = 4.
        resize: (width, height) in pixels to which the model's pipeline resizes images before it would encrypt them.
            The interpolation is bilinear, as in ``dict(type='Resize', scale=..., keep_ratio=False,
            backend='pillow')``. An encrypted image can no longer be resized.

    Raises:
        ConfigError: The cipher, or the size to resize to, is not usable.
        WeakCipherError: The cipher has fewer than 80 key bits and ``allow_weak`` is not set.

    Example:
        >>> encryptor = Encryptor(SecretKey.from_bytes(bytes(32)))
        >>> image, note = encryptor.encrypt(np.zeros((5, 8, 3), dtype=np.uint8))
        >>> image.shape, note['padding_size'], note['cipher']
        ((8, 8, 3), [0, 0, 0, 3], 'shuffle+negative-positive/M=4')
    """

    def __init__(
        self, key: SecretKey, cipher: CipherConfig = DEFAULT_CIPHER, resize: tuple[int, int] | None = None
    ) -> None:
        if resize is not None and not all(isinstance(side, int) and side > 0 for side in resize):
            raise ConfigError(
                f'Expected `resize` as (width, height) in pixels, but got {resize}. Give two positive integers.'
            )
        self.cipher = KeyedCipher(cipher, key, channel_order='rgb')
        self.resize = resize

    @property
    def suffix(self) -> str:
        """The suffix of encrypted files: ``.png``, or ``.tiff`` for a cipher whose samples exceed 8 bits."""
        return '.png' if self.cipher.cipher_for(3).max_value == 255 else '.tiff'

    def encrypt(self, image: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[Any], dict[str, Any]]:
        """Encrypt an image.

        Args:
            image: RGB (H, W, 3), uint8, or floating point that holds whole numbers from 0 to 255.

        Returns:
            The encrypted image (H', W', 3), extended to whole blocks: uint8, or uint16 after ffx. And the note of its
            file: spec version, key id, cipher, padding and original size.

        Raises:
            ImageFormatError: The image has another type, rank or number of channels, or is not 8-bit data.
            BlockAlignmentError: The image is smaller than one block.
        """
        image = as_uint8(image)
        size = image.shape[:2]
        if self.resize is not None:
            image = np.asarray(Image.fromarray(image).resize(self.resize, Image.Resampling.BILINEAR))
        encrypted, padding = self.cipher.encrypt_raw(image)
        note = dict(spec_version=SPEC_VERSION, key_id=self.cipher.key_id, cipher=self.cipher.name)
        return encrypted, dict(note, padding_size=list(padding), size=list(size))

    def encrypt_file(self, source: str | Path, target: str | Path) -> bool:
        """Encrypt an image file. A target that exists and has this key, cipher and size is left as it is.

        Args:
            source: JPEG, PNG, TIFF or WebP.
            target: The file to make. It ends in :attr:`~mmseg_keyprotect.images.Encryptor.suffix`.

        Returns:
            True if the target was made now, False if it existed.

        Raises:
            ImageFormatError: The source cannot be encrypted.
            MissingFileError: The source does not exist or cannot be read.
            AlreadyEncryptedError: The source is encrypted, or the target is something else and would be overwritten.
            ConfigError: The target has another suffix.
            OutputError: The folder of the target does not exist, or the target cannot be written.

        Example:
            >>> Image.new('RGB', (8, 8)).save('plain.png')
            >>> Encryptor(SecretKey.generate()).encrypt_file('plain.png', 'encrypted.png')
            True
        """
        source, target = Path(source), Path(target)
        if target.suffix != self.suffix:
            raise ConfigError(
                f'Expected a target that ends in {self.suffix}, which keeps every bit, but got {target}. Rename it.'
            )
        if target.exists():
            self._check_is_ours(target)
            return False
        if not target.parent.is_dir():
            raise OutputError(f'Expected the folder {target.parent} to exist, but it does not. Make it first.')
        if is_encrypted(source):
            raise AlreadyEncryptedError(f'Expected a plain image, but {source} is already encrypted. Use it as it is.')
        try:
            write_encrypted(target, *self.encrypt(read_image(source)))
        except OutputError:
            if not target.exists():
                raise
            self._check_is_ours(target)  # another process has just made it
            return False
        return True

    def _check_is_ours(self, target: Path) -> None:
        """Check that an existing target is what this object would write."""
        try:
            image, note = read_encrypted(target)
        except (ImageFormatError, MissingFileError):
            note = {}
        same = (note.get('key_id'), note.get('cipher')) == (self.cipher.key_id, self.cipher.name)
        if same:  # then it must also have the size that it would have now
            height, width = image.shape[0] - note['padding_size'][3], image.shape[1] - note['padding_size'][1]
            same = (height, width) == (tuple(note['size']) if self.resize is None else self.resize[::-1])
        if not same:
            raise AlreadyEncryptedError(
                f'Expected no file {target}, or one of the key {self.cipher.key_id} by {self.cipher.name} and of the '
                'same size, but got something else, which is never overwritten. Name another place (-o).'
            )
