"""Attack a protected model as an adversary would, and measure what each attack recovers.

``keyprotect audit`` runs the attacks, and :func:`~mmseg_keyprotect.audit.run.run_audit` is the function behind it.
:data:`~mmseg_keyprotect.audit.attacks.ATTACKS` lists them. Importing this package loads neither torch nor OpenMMLab, so
that the command line can list the attacks at once.
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
