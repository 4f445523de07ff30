"""What goes into ``model = dict(...)``."""

import mmseg  # noqa: F401  first, since importing it registers this package: see mmseg_keyprotect/__init__.py

from mmseg_keyprotect.models.data_preprocessor import KeyedSegDataPreProcessor

__all__ = ['KeyedSegDataPreProcessor']
