"""Whose model it is, and which copy leaked: marks of weights, records of copies, tracing (docs/ownership.md)."""

from mmseg_keyprotect.ownership.copies import protect_copy
from mmseg_keyprotect.ownership.fingerprint import DEFAULT_STRENGTH, mark_weights
from mmseg_keyprotect.ownership.record import CopyRecord, commit, read_records, verify_commitment
from mmseg_keyprotect.ownership.trace import RecipientScore, Trace, trace_suspect

__all__ = [
    'DEFAULT_STRENGTH',
    'CopyRecord',
    'RecipientScore',
    'Trace',
    'commit',
    'mark_weights',
    'protect_copy',
    'read_records',
    'trace_suspect',
    'verify_commitment',
]
