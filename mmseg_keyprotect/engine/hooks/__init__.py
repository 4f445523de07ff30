"""Hooks for mmengine's Runner."""

from mmseg_keyprotect.engine.hooks.key_guard_hook import KeyGuardHook

__all__ = ['KeyGuardHook']
