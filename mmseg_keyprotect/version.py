"""The version of the package and of the file format."""

__version__ = '0.2.0'

SPEC_VERSION = 1
"""The version of the specification (docs/spec.md): derivation, ciphers, padding, key files, sealed files, images."""
