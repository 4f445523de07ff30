"""Transforms for the pipelines of MMSegmentation."""

import mmseg  # noqa: F401  first, since importing it registers this package: see mmseg_keyprotect/__init__.py

from mmseg_keyprotect.datasets.transforms import (
    META_KEYS,
    KeyedBlockEncrypt,
    LoadEncryptedImage,
    LoadSealedAnnotations,
    LoadSealedImage,
)

__all__ = ['META_KEYS', 'KeyedBlockEncrypt', 'LoadEncryptedImage', 'LoadSealedAnnotations', 'LoadSealedImage']
