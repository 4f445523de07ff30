"""Turning what exists into what is protected."""

from mmseg_keyprotect.protection.protect_checkpoint import protect_checkpoint
from mmseg_keyprotect.protection.protect_config import protect_config
from mmseg_keyprotect.protection.rekey_checkpoint import rekey_checkpoint

__all__ = ['protect_checkpoint', 'protect_config', 'rekey_checkpoint']
