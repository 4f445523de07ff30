"""Audit reports made by hand."""

from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.audit.key_shares import Share
from mmseg_keyprotect.audit.report import AuditReport
from mmseg_keyprotect.keys.identity import Identity

REFERENCE = {'correct key': 53.0, 'no key': 4.0, 'floor': 3.0}
IDENTITY = Identity('0' * 16, 'shuffle+negative-positive/M=4')
TRAINING = ('weights', 'plain images', 'labels')


def finding_of(attack, miou, seconds=60.0, stopped='', needs=TRAINING, right=None):
    shares = [] if right is None else [Share('order', right, 0.02, 48), Share('signs', right, 0.5, 48)]
    return Finding(attack, needs, shares, miou, seconds, 16, 0, 'In one sentence.', stopped=stopped)


def audit_of(*findings, **about):
    return AuditReport(list(findings), REFERENCE, IDENTITY, 247.8, 1, about)
