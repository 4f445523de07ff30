"""The ciphers that a configuration can name."""

from __future__ import annotations

from typing import Any, TypeVar

from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.errors import ConfigError

CIPHERS: dict[str, type[BlockCipher]] = {}
"""The class of every registered cipher, by the ``type`` that names it in a configuration."""

Class = TypeVar('Class', bound=type[BlockCipher])


def register_cipher(cls: Class) -> Class:
    """Register a cipher, so that configurations, the command line, the access report and the audit know it.

    Args:
        cls: A subclass of :class:`~mmseg_keyprotect.ciphers.BlockCipher`. Its class attributes say what the rest of
            the package needs to know about it.

    Returns:
        The class, so that this function can be a decorator.

    Raises:
        ConfigError: Another class has the same name or the same word.

    Example:
        >>> @register_cipher
        ... class Invert(BlockCipher):
        ...     word, has_signs, key_space_bits = 'invert', True, 0.0
        ...
        ...     def __init__(self, block_size, key, channels=3):
        ...         super().__init__(block_size, key.key_id, channels)
        ...         self.transform = BlockTransform.flip(np.ones(self.samples, dtype=bool))
        >>> cipher = build_cipher(dict(type='Invert', block_size=4, allow_weak=True), SecretKey.generate())
        >>> int(cipher.encrypt(np.zeros((4, 4, 3), dtype=np.uint8)).min())
        255
        >>> del CIPHERS['Invert']
    """
    add_cipher(CIPHERS, cls)
    return cls


def add_cipher(ciphers: dict[str, Any], cls: Any) -> None:
    """Add a class to the ciphers of its kind; raise ConfigError if its name or its word is taken."""
    word = getattr(cls, 'word', None)
    for name, other in ciphers.items():
        if name == cls.__name__ or (word is not None and word == getattr(other, 'word', None)):
            raise ConfigError(
                f'Expected a cipher with a new name and a new word, but {cls.__name__} ({word}) meets {name}, which is '
                'registered already. Rename it.'
            )
    ciphers[cls.__name__] = cls
