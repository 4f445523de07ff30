"""Attacks on protected models, as an attacker would try them, and what they recover.

``keyprotect audit`` runs them; :mod:`mmseg_keyprotect.audit.attacks` lists them. Importing this package loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmseg_keyprotect.audit.run import run_audit as run_audit

__all__ = ['run_audit']


def __getattr__(name: str) -> Any:
    if name == 'run_audit':
        from mmseg_keyprotect.audit.run import run_audit

        return run_audit
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
