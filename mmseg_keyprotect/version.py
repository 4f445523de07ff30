"""The version of the package, and of the format that it speaks."""

__version__ = '0.1.0'

SPEC_VERSION = 1
"""The version of docs/spec.md: derivation, ciphers, padding, key files."""
