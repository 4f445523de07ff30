"""Turning what exists into what is protected."""

from mmseg_keyprotect.protection.protect_config import protect_config

__all__ = ['protect_config']
