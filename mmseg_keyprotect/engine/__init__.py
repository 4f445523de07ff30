"""The parts of a run: the hook that guards the key, a visualizer, sealed checkpoints, and mmseg's command lines."""

import mmseg  # noqa: F401  first, since importing it registers this package: see mmseg_keyprotect/__init__.py

from mmseg_keyprotect.engine.encrypted_image_visualizer import EncryptedImageVisualizer
from mmseg_keyprotect.engine.hooks import KeyGuardHook
from mmseg_keyprotect.engine.sealed_checkpoints import SealedBackend
from mmseg_keyprotect.engine.sealed_tensors import SealedTensors

__all__ = ['EncryptedImageVisualizer', 'KeyGuardHook', 'SealedBackend', 'SealedTensors']
