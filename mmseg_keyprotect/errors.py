"""The errors of mmseg-keyprotect.

A message says what was expected, what was found and what to do next. It never holds any part of a key.

Example:
    >>> from mmseg_keyprotect.errors import KeyProtectError
    >>> from mmseg_keyprotect.keys import SecretKey
    >>> try:
    ...     SecretKey.load('missing.key')
    ... except KeyProtectError as error:
    ...     print(type(error).__name__)
    KeyFileError
"""

from __future__ import annotations


class KeyProtectError(Exception):
    """The base class of all errors of mmseg-keyprotect."""


class KeyFileError(KeyProtectError):
    """A key, a key file or a passphrase cannot be used: it is missing, damaged, exposed, or has another version."""


class WrongKeyError(KeyProtectError):
    """A checkpoint, a sealed file or an image belongs to another key or another cipher, or to none."""


class WeakCipherError(KeyProtectError):
    """A cipher has too few keys to withstand an exhaustive search (docs/spec.md, section 4)."""


class BlockAlignmentError(KeyProtectError):
    """A block size is not usable, or an image size is not a whole number of blocks."""


class LeakedKeyError(KeyProtectError):
    """A key is, or is about to be, where others can read it: a configuration, a pickle, a dump."""


class AlreadyEncryptedError(KeyProtectError):
    """An image that is already encrypted would be encrypted a second time."""


class ImageFormatError(KeyProtectError):
    """An image or a label map has the wrong type, rank, channels, size or values."""


class ConfigError(KeyProtectError):
    """A configuration or an argument cannot work. ``problems`` lists every problem that was found in it.

    Args:
        message: The whole text.
        problems: The single problems, each an error of its own. Default: none.
    """

    def __init__(self, message: str, problems: tuple[KeyProtectError, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class OutputError(KeyProtectError):
    """A file or folder cannot be written: it exists, its folder or a permission is missing, or the disk is full."""


class MissingFileError(KeyProtectError, FileNotFoundError):
    """A file or folder that is needed does not exist or cannot be read."""


class DamagedFileError(KeyProtectError):
    """A file that mmseg-keyprotect wrote is damaged or holds something else."""


class CheckpointError(KeyProtectError):
    """A checkpoint cannot be read, holds no weights, or does not fit the model."""


class SealedFileError(KeyProtectError):
    """A sealed file is damaged, cut off or changed, or is not a sealed file."""


class SignatureError(KeyProtectError):
    """A sealed file is not signed by the publisher who must have signed it, or was changed after signing."""


class LicenceError(KeyProtectError):
    """The licence of a sealed file does not allow to open it here and now."""


class AnswerError(KeyProtectError):
    """A server that is asked for a mask does not answer, or answers with something else."""


class FeatureMessageError(KeyProtectError):
    """Bytes are no message of feature maps, or their shapes are not those that the private part reads."""


class MissingDependencyError(KeyProtectError, ImportError):
    """A package that this part of mmseg-keyprotect needs is missing, or has a version that does not work."""

    @classmethod
    def of(cls, package: str, extra: str) -> MissingDependencyError:
        """Return the error for a package that one of our extras installs."""
        return cls(
            f'Expected the package {package}, but it is not installed. Install it: '
            f"pip install 'mmseg-keyprotect[{extra}]'."
        )


class UnsupportedSpecError(KeyProtectError):
    """A file follows a version of the specification that this version of mmseg-keyprotect does not know."""
