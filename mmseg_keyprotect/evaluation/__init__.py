"""The access report: the accuracy of every user, and the cost of the protection."""

from mmseg_keyprotect.evaluation.evaluate import evaluate_access

__all__ = ['evaluate_access']
