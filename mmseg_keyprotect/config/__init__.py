"""Configurations: find what they protect, check that they are sound, and protect them."""

from mmseg_keyprotect.config.checks import check_config
from mmseg_keyprotect.config.protect import protect_config

__all__ = ['check_config', 'protect_config']
