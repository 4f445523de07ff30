"""Experiments and tables of docs/results.md and docs/security/audit.md."""

import mmseg_keyprotect  # noqa: F401  its workarounds for OpenMMLab must come before the first import of mmseg
