"""The cells and tables of docs/results.md and docs/security/audit.md."""
