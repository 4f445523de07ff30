"""Experiments and tables of docs/results.md and docs/security/audit.md."""
