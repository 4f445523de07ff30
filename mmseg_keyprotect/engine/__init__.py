"""What goes into the run: hooks, and the checks of a configuration."""

import mmseg  # noqa: F401  first, since importing it registers this package: see mmseg_keyprotect/__init__.py

from mmseg_keyprotect.engine.hooks import KeyGuardHook
from mmseg_keyprotect.engine.sealed_checkpoints import SealedBackend

__all__ = ['KeyGuardHook', 'SealedBackend']
