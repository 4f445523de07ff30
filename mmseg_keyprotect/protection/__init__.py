"""Bind a trained model to a key without training, move it to another key, and compare it with the plain model."""

from mmseg_keyprotect.protection.bind import protect_checkpoint
from mmseg_keyprotect.protection.rekey import rekey_checkpoint
from mmseg_keyprotect.protection.verify import Verification, verify_protection

__all__ = ['Verification', 'protect_checkpoint', 'rekey_checkpoint', 'verify_protection']
