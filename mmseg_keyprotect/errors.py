"""Every error that mmseg-keyprotect raises on its own account.

A message says what was expected, what was got and what to do next, and never holds any part of a key.
"""

from __future__ import annotations


class KeyProtectError(Exception):
    """Base of all errors of mmseg-keyprotect."""


class KeyFileError(KeyProtectError):
    """A key, a key file or a passphrase cannot be used: missing, damaged, exposed, or of another version."""


class WrongKeyError(KeyProtectError):
    """A checkpoint or an image belongs to another key or another cipher, or to none."""


class WeakCipherError(KeyProtectError):
    """The cipher has too few keys to withstand an exhaustive search (docs/spec.md, section 4)."""


class BlockAlignmentError(KeyProtectError):
    """A block size is not usable, or a size is not a whole number of blocks."""


class LeakedKeyError(KeyProtectError):
    """A key is, or is about to be, where it can be read: a config, a pickle, a dump."""


class AlreadyEncryptedError(KeyProtectError):
    """An image that is encrypted already would be encrypted a second time."""


class ImageFormatError(KeyProtectError):
    """An image or a label map has the wrong type, rank, channels, size or values."""


class ConfigError(KeyProtectError):
    """A configuration cannot work. ``problems`` lists every fault that was found in it.

    Args:
        message: The whole text.
        problems: The single faults, each an error of its own. Defaults to none.
    """

    def __init__(self, message: str, problems: tuple[KeyProtectError, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class OutputError(KeyProtectError):
    """A file or folder cannot be written: it exists, its folder is missing, the disk is full, or it may not be."""


class MissingFileError(KeyProtectError):
    """A file or folder that is needed does not exist, or cannot be read."""


class DamagedFileError(KeyProtectError):
    """A file that mmseg-keyprotect wrote is damaged, or holds something else."""


class CheckpointError(KeyProtectError):
    """A checkpoint cannot be read, holds no weights, or does not fit the model."""


class SealedFileError(KeyProtectError):
    """A sealed file is damaged, cut off, changed, or no sealed file at all."""


class MissingDependencyError(KeyProtectError, ImportError):
    """A package that this part of mmseg-keyprotect needs is missing, or of a version that does not work."""


class UnsupportedSpecError(KeyProtectError):
    """A file was written to a version of the specification that this version does not know."""
