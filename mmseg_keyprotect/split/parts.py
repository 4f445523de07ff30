"""Run the two parts of a model by onnxruntime, each where it belongs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_keyprotect.errors import (
    CheckpointError,
    FeatureMessageError,
    ImageFormatError,
    KeyProtectError,
    MissingDependencyError,
)
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing import Opener, open_by_environment, open_sealed
from mmseg_keyprotect.sealing.sealed_files import open_file
from mmseg_keyprotect.split.message import FeatureMessage

METADATA = 'mmseg-keyprotect-split'
"""The entry of a part's metadata that says what it is, as JSON."""

PUBLIC_FILE, PRIVATE_FILE = 'public/backbone.onnx', 'private.sealed'
"""The two artefacts, within the folder of ``keyprotect split``."""

SIZE = 'size'
"""The input of the private part: int64 (2,), height and width of the image as the backbone saw it."""


PIECE = 2**16
"""Bytes that a message may have beyond its arrays."""


def padded_size(size: tuple[int, int], about: dict[str, Any]) -> tuple[int, int]:
    """Return the size to which the public part pads an image, as MMSegmentation does in a test.

    Args:
        size: (height, width) of the image, in pixels.
        about: The metadata of a part.

    Example:
        >>> padded_size((50, 70), dict(size_divisor=32)), padded_size((50, 70), dict(least=(64, 64)))
        ((64, 96), (64, 70))
    """
    height, width = size
    if least := about.get('least'):
        return max(height, least[0]), max(width, least[1])
    divisor = about.get('size_divisor') or 1
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


class PublicPart:
    """The public part in memory: the frozen backbone, which everybody may have.

    Args:
        content: The bytes of ``public/backbone.onnx`` of ``keyprotect split``.
        name: What errors call the file.
        **options: Further arguments of ``onnxruntime.InferenceSession``, such as ``providers``.

    Raises:
        MissingDependencyError: onnxruntime is missing.
        CheckpointError: It is no public part.

    Example:
        >>> message = PublicPart.open('parts/public/backbone.onnx').features(image)     # doctest: +SKIP
        >>> body = message.to_bytes(compressed=True)                                    # doctest: +SKIP
    """

    def __init__(self, content: bytes, name: str = 'the file', **options: Any) -> None:
        self.session, self.about = _session(content, 'public', name, options)

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> PublicPart:
        """Read the file.

        Raises:
            MissingFileError: There is no such file.
        """
        with open_file(path) as file:
            return cls(file.read(), str(path), **options)

    def features(self, image: np.ndarray) -> FeatureMessage:
        """Return the feature maps of an image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Raises:
            ImageFormatError: The image has another shape or type, or another size than the parts were made for.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
            raise ImageFormatError(
                f'Expected an image of H x W x 3, uint8, RGB, but got {" x ".join(map(str, image.shape))}, '
                f'{image.dtype}. Convert it.'
            )
        _check_size(image.shape[:2], self.about, ImageFormatError)
        found = self.session.run(None, {self.session.get_inputs()[0].name: image[None]})
        return FeatureMessage((image.shape[0], image.shape[1]), [one[0] for one in found])


class PrivatePart:
    """The private part in memory: the side network and the decode head. It never sees the image.

    Args:
        content: The bytes of the opened ``private.sealed``.
        name: What errors call the file.
        **options: Further arguments of ``onnxruntime.InferenceSession``.

    Attributes:
        about: The metadata, with ``classes`` and ``palette``.

    Raises:
        MissingDependencyError: onnxruntime is missing.
        CheckpointError: It is no private part.
    """

    @without_locals
    def __init__(self, content: bytes, name: str = 'the file', **options: Any) -> None:
        self.session, self.about = _session(content, 'private', name, options)

    @property
    def most_bytes(self) -> int:
        """The largest message that this part takes, uncompressed."""
        pixels, size = self.about['most_pixels'], np.dtype(self.about['dtype']).itemsize
        return size * sum(4 * count * -(-pixels // stride**2) for count, stride in self.about['features']) + PIECE

    @classmethod
    @without_locals
    def open(
        cls, path: str | Path, key: SecretKey | Opener | None = None, passphrase: Passphrase = None, **options: Any
    ) -> PrivatePart:
        """Open ``private.sealed``. Nothing of it touches the disk.

        Args:
            path: The file.
            key: The key or another identity that opens it. Without it and a passphrase, what the environment names, as
                for :func:`~mmseg_keyprotect.sealing.open_by_environment`.
            passphrase: The passphrase that opens it, or a function that returns it, if any.
            **options: As of the class.

        Raises:
            MissingFileError: There is no such file.
            WrongKeyError: The file is sealed for others.
            SealedFileError: The file is damaged, or not sealed.
            SignatureError: It is not signed as it must be.
            LicenceError: Its licence does not allow to open it.
            KeyFileError: There is neither a key nor a passphrase.
            CheckpointError: It holds no private part.

        Example:
            >>> part = PrivatePart.open('parts/private.sealed', SecretKey.load('my.key'))       # doctest: +SKIP
            >>> part.predict(FeatureMessage.from_bytes(body)).shape                             # doctest: +SKIP
            (720, 960)
        """
        given = key is not None or passphrase is not None
        with open_sealed(path, key, passphrase) if given else open_by_environment(path) as reader:
            return cls(reader.read(), str(path), **options)

    def predict(self, message: FeatureMessage) -> np.ndarray:
        """Return the class of each pixel, uint8 (H, W).

        Args:
            message: The feature maps of an image. They may come from a machine that nobody trusts.

        Raises:
            FeatureMessageError: They have other shapes than the public part's for an image of this size.
        """
        height, width = message.size
        _check_size(message.size, self.about, FeatureMessageError)
        padded = padded_size(message.size, self.about)
        expected = [(count, *_sides(padded, stride)) for count, stride in self.about['features']]
        found = [tuple(feature.shape) for feature in message.features]
        types = {str(feature.dtype) for feature in message.features}
        if found != expected or types != {self.about['dtype']}:
            raise FeatureMessageError(
                f'Expected feature maps of shapes {expected}, {self.about["dtype"]}, for an image of {height} x '
                f'{width} pixels, but got {found}, {", ".join(sorted(types))}. Use the public part that was written '
                'with this private part.'
            )
        inputs = {f'feature_{number}': feature[None] for number, feature in enumerate(message.features)}
        mask: np.ndarray = self.session.run(['mask'], {**inputs, SIZE: np.array(padded, np.int64)})[0][0]
        return mask[:height, :width]


def _check_size(size: tuple[int, ...], about: dict[str, Any], error: type[KeyProtectError]) -> None:
    """Raise an error for an image of a size that the parts do not take."""
    fixed, most = about['size'], about['most_pixels']
    if size[0] * size[1] > most or (fixed and list(size) != list(fixed)):
        wanted = f'{fixed[0]} x {fixed[1]}' if fixed else f'at most {most}'
        raise error(
            f'Expected an image of {wanted} pixels, but got {size[0]} x {size[1]}. Resize it, or split the model for '
            'this size: --size H W.'
        )


def _sides(size: tuple[int, int], stride: int) -> tuple[int, int]:
    return -(-size[0] // stride), -(-size[1] // stride)


def _session(content: bytes, part: str, name: str, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the session of a part, and its metadata."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError.of('onnxruntime', 'onnx') from None
    try:
        session = onnxruntime.InferenceSession(content, **options)
        about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA])
        if about['part'] != part:
            raise ValueError(f'it is the {about["part"]} part')
        return session, about
    except Exception as error:  # onnxruntime has a class of its own for each cause
        line = (str(error).splitlines() or [''])[0][:200]
        raise CheckpointError(
            f'Expected the {part} part of a model that `keyprotect split` wrote, but got {type(error).__name__} from '
            f'{name}: {line}. Split the model again, or install a newer onnxruntime.'
        ) from None
