"""Pipeline transforms."""

import mmseg  # noqa: F401  first, since importing it registers this package: see mmseg_keyprotect/__init__.py

from mmseg_keyprotect.datasets.transforms import KeyedBlockEncrypt

__all__ = ['KeyedBlockEncrypt']
