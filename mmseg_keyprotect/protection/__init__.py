"""Turning a trained model into a protected one, and moving it to another key."""

from mmseg_keyprotect.protection.bind import protect_checkpoint
from mmseg_keyprotect.protection.rekey import rekey_checkpoint

__all__ = ['protect_checkpoint', 'rekey_checkpoint']
