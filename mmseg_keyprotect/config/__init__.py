"""Configurations: what they protect, whether they are sound, and how one becomes protected."""

from mmseg_keyprotect.config.protect import protect_config

__all__ = ['protect_config']
