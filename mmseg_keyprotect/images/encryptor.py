"""Encrypting image files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, KeyedCipher
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError, ImageFormatError
from mmseg_keyprotect.images.files import read_encrypted, read_image, write_encrypted
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.version import SPEC_VERSION


class Encryptor:
    """Encrypts images as the model's pipeline would.

    Args:
        key: The secret key.
        cipher: The model's cipher. Defaults to Shuffle, then NegativePositive, M = 4.
        resize: (width, height) that the model's pipeline resizes images to, before it would encrypt them; by bilinear
            interpolation, as ``dict(type='Resize', scale=..., keep_ratio=False, backend='pillow')`` does. An encrypted
            image cannot be resized any more.

    Raises:
        ConfigError: The cipher, or the size to resize to, is not usable.
        WeakCipherError: The cipher has less than 80 key bits and ``allow_weak`` is not set.
    """

    def __init__(
        self, key: SecretKey, cipher: CipherConfig = DEFAULT_CIPHER, resize: tuple[int, int] | None = None
    ) -> None:
        if resize is not None and not all(isinstance(side, int) and side > 0 for side in resize):
            raise ConfigError(f'Expected `resize` as (width, height) in pixels, but got {resize}.')
        self.cipher = KeyedCipher(cipher, key, channel_order='rgb')
        self.resize = resize

    @property
    def suffix(self) -> str:
        """The suffix of encrypted files: ``.png``, for ffx ``.tiff``."""
        return '.png' if self.cipher.cipher_for(3).max_value == 255 else '.tiff'

    def encrypt(self, image: np.ndarray) -> tuple[np.ndarray, dict]:
        """Encrypt an image.

        Args:
            image: RGB uint8 (H, W, 3).

        Returns:
            The encrypted image, of whole blocks, uint8, for ffx uint16; and the note of its file.
        """
        size = image.shape[:2]
        if self.resize is not None:
            image = np.asarray(Image.fromarray(image).resize(self.resize, Image.Resampling.BILINEAR))
        encrypted, padding = self.cipher.encrypt_raw(image)
        note = dict(spec_version=SPEC_VERSION, key_id=self.cipher.key_id, cipher=self.cipher.name)
        return encrypted, dict(note, padding_size=list(padding), size=list(size))

    def encrypt_file(self, source: str | Path, target: str | Path) -> bool:
        """Encrypt an image file; one that is there already, of this key and cipher, is left as it is.

        Args:
            source: JPEG, PNG, TIFF or WebP.
            target: The file to make; it ends in :attr:`suffix`.

        Returns:
            Whether it was made now.

        Raises:
            ImageFormatError: The source cannot be encrypted.
            AlreadyEncryptedError: The source is encrypted, or the target is something else and would be overwritten.
            ConfigError: The target has another suffix, or its folder does not exist.
        """
        source, target = Path(source), Path(target)
        if target.suffix != self.suffix:
            raise ConfigError(f'Expected a target that ends in {self.suffix}, which keeps every bit, but got {target}.')
        if target.exists():
            self._check_is_ours(target)
            return False
        if not target.parent.is_dir():
            raise ConfigError(f'Expected the folder {target.parent} to exist, but it does not. Make it first.')
        if is_encrypted(source):
            raise AlreadyEncryptedError(f'Expected a plain image, but {source} is encrypted already.')
        write_encrypted(target, *self.encrypt(read_image(source)))
        return True

    def _check_is_ours(self, target: Path) -> None:
        try:
            image, note = read_encrypted(target)
        except ImageFormatError:
            note = {}
        same = (note.get('key_id'), note.get('cipher')) == (self.cipher.key_id, self.cipher.name)
        if same:  # and of the size that it would have now
            height, width = image.shape[0] - note['padding_size'][3], image.shape[1] - note['padding_size'][1]
            same = (height, width) == (tuple(note['size']) if self.resize is None else self.resize[::-1])
        if not same:
            raise AlreadyEncryptedError(
                f'Expected no file {target}, or one of the key {self.cipher.key_id} by {self.cipher.name} and of the '
                'same size, but it is something else and is never overwritten. Name another place with -o.'
            )


def is_encrypted(path: Path) -> bool:
    """Tell whether an image file is one of ours."""
    try:
        read_encrypted(path)
    except ImageFormatError:
        return False
    return True
