"""Attacks on protected models, as a thief would try them, and what they give him.

``tools/audit.py`` runs them; :mod:`mmseg_keyprotect.audit.attacks` lists them. docs/audit.md tells what each assumes.
"""
