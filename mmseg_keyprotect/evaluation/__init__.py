"""The access report: who gets which accuracy, and what the protection costs."""

from mmseg_keyprotect.evaluation.evaluate import evaluate_access

__all__ = ['evaluate_access']
