"""The message from the public part to the private part: feature maps as the arrays of an npz file."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmseg_keyprotect.errors import FeatureMessageError

VERSION = 1
"""The version of the format: docs/spec.md, section 13."""

MAX_BYTES = 2**28
"""The largest message, uncompressed. The sender is a machine that nobody trusts."""

MAX_FEATURES = 256
"""The most arrays of a message."""

DTYPES = ('float16', 'float32')
_SIZE = 'size'


@dataclass(frozen=True)
class FeatureMessage:
    """The feature maps of one image.

    Args:
        size: (height, width) of the image, in pixels.
        features: float16 or float32 (C, H, W) each, in the order of the backbone's ``out_indices``.

    Example:
        >>> message = FeatureMessage((64, 48), [np.zeros((8, 16, 12), np.float16)])
        >>> FeatureMessage.from_bytes(message.to_bytes()).features[0].shape
        (8, 16, 12)
    """

    size: tuple[int, int]
    features: Sequence[np.ndarray]

    def to_bytes(self, compressed: bool = False) -> bytes:
        """Return the message as an npz file.

        Args:
            compressed: Whether its arrays are deflated, without loss.
        """
        file = io.BytesIO()
        arrays: dict[str, Any] = {_name(number): feature for number, feature in enumerate(self.features)}
        arrays[_SIZE] = np.array([VERSION, *self.size], np.int64)
        (np.savez_compressed if compressed else np.savez)(file, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, most: int = MAX_BYTES) -> FeatureMessage:
        """Read a message. No code of it runs, and no array is inflated before the sizes of all are known.

        Args:
            content: The message.
            most: Its largest size, uncompressed, in bytes.

        Raises:
            FeatureMessageError: It is none, it is too large, or it is of another version.
        """
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                infos = archive.infolist()
                members = {one.filename: one.file_size for one in infos}
                if len(members) != len(infos) or len(infos) > MAX_FEATURES or sum(members.values()) > most:
                    raise _error('it is too large, or names an array twice')
                if {one.compress_type for one in infos} - {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
                    raise _error('an array of it is neither stored nor deflated')
                names = [f'{_name(number)}.npy' for number in range(len(members) - 1)]
                if set(members) != {f'{_SIZE}.npy', *names} or not names:
                    raise _error('it has other arrays')
                size, *features = (_read(archive, name) for name in (f'{_SIZE}.npy', *names))
        except FeatureMessageError:
            raise
        except Exception:  # zipfile, zlib and numpy have errors of many types for a file that is damaged
            raise _error('it cannot be read as one') from None
        if size.dtype != np.int64 or size.shape != (3,) or size[0] != VERSION or not (size[1:] > 0).all():
            raise _error(f'its size is none of version {VERSION}')
        for feature in features:
            if feature.ndim != 3 or str(feature.dtype) not in DTYPES or not np.isfinite(feature).all():
                raise _error('an array of it is no feature map (C, H, W) of finite float16 or float32')
        return cls((int(size[1]), int(size[2])), features)


def _name(number: int) -> str:
    return f'feature_{number}'


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read one array, whose header must say what the archive says: numpy allocates what the header says."""
    with archive.open(name) as file:
        major, _ = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
        if (
            dtype.hasobject
            or int(np.prod(shape, dtype=object)) * dtype.itemsize + file.tell() != archive.getinfo(name).file_size
        ):
            raise _error(f'the header of {name} is damaged')
    with archive.open(name) as file:
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def _error(reason: str) -> FeatureMessageError:
    return FeatureMessageError(
        f'Expected feature maps as the public part sends them, but {reason}. Send what `FeatureMessage.to_bytes` '
        'returns.'
    )
