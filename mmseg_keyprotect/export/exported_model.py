"""Run an exported model by onnxruntime."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmseg_keyprotect.errors import CheckpointError, ImageFormatError, MissingDependencyError
from mmseg_keyprotect.export.true_size import SIZE
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.sealing import Opener, is_sealed_file, open_by_environment, open_sealed
from mmseg_keyprotect.sealing.sealed_files import open_file, refuse_plain

METADATA = 'mmseg-keyprotect'
"""The entry of the file's metadata that says what the model is, as JSON."""


class ExportedModel:
    """An exported model in memory.

    Args:
        content: The bytes of an ONNX file of :func:`~mmseg_keyprotect.export.export_onnx`.
        name: What errors call the file.
        **options: Further arguments of ``onnxruntime.InferenceSession``, such as ``providers`` or ``sess_options``.

    Attributes:
        session: The ``onnxruntime.InferenceSession``.
        about: The metadata: ``spec_version``, ``key_id`` and ``cipher`` (None for a plain model), ``block_size`` in
            pixels, ``channel_order``, ``classes`` and ``palette``.
        cuts: Whether the graph itself cuts the mask to the true size of the image.

    Raises:
        MissingDependencyError: onnxruntime is missing.
        CheckpointError: The content is no such file.
    """

    def __init__(self, content: bytes, name: str = 'the file', **options: Any) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependencyError.of('onnxruntime', 'onnx') from None
        try:
            self.session = onnxruntime.InferenceSession(content, **options)
            self.about = json.loads(self.session.get_modelmeta().custom_metadata_map[METADATA])
            self._input, *others = self.session.get_inputs()
            self.cuts = bool(others)
            if [(one.name, one.type, one.shape) for one in others] not in ([], [(SIZE, 'tensor(int64)', [2])]):
                raise ValueError('it has other inputs')
            if len(self._input.shape) != 4 or not 1 <= int(self.about['block_size']) < 2**16:
                raise ValueError('its input or its metadata is of another kind')
        except Exception as error:  # onnxruntime has a class of its own for each cause
            line = (str(error).splitlines() or [''])[0][:200]
            raise CheckpointError(
                f'Expected a model that `keyprotect export` wrote, but got {type(error).__name__} from {name}: {line}. '
                'Export it again, or install a newer onnxruntime.'
            ) from None

    @classmethod
    @without_locals
    def open(
        cls, path: str | Path, key: SecretKey | Opener | None = None, passphrase: Passphrase = None, **options: Any
    ) -> ExportedModel:
        """Read a file, plain or sealed. Nothing of a sealed file touches the disk.

        Args:
            path: The file.
            key: The key or another identity that opens a sealed file. Without it and a passphrase, what the environment
                names, as for :func:`~mmseg_keyprotect.sealing.open_by_environment`.
            passphrase: The passphrase that opens it, or a function that returns it, if any.
            **options: As of the class.

        Raises:
            MissingFileError: There is no such file.
            SignatureError: It is sealed, and not signed as it must be.
            LicenceError: It is sealed, and its licence does not allow to open it.
            WrongKeyError: The file is sealed for others.
            SealedFileError: The file is sealed, and damaged.
            KeyFileError: It is sealed, and there is neither a key nor a passphrase.
            CheckpointError: It holds no exported model.

        Example:
            >>> model = ExportedModel.open('model.sealed.onnx', SecretKey.load('my.key'))   # doctest: +SKIP
            >>> model.predict(image).shape                                                  # doctest: +SKIP
            (720, 960)
        """
        if not is_sealed_file(path):
            refuse_plain(path)
            with open_file(path) as file:
                return cls(file.read(), str(path), **options)
        given = key is not None or passphrase is not None
        with open_sealed(path, key, passphrase) if given else open_by_environment(path) as reader:
            return cls(reader.read(), str(path), **options)

    def predict(self, image: np.ndarray, size: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Return the class of each pixel.

        Args:
            image: (H, W, C), uint8, RGB; for a model of encrypted images an encrypted one, uint8 or uint16, as
                :class:`~mmseg_keyprotect.images.Encryptor` makes it.
            size: (height, width) of the image before it was extended to whole blocks, as in the encryptor's note. The
                mask is cut to it: by the graph if it can, else here. By default the mask is as large as the image.

        Returns:
            Integers (H, W).

        Raises:
            ImageFormatError: The image has another size or type than the model takes, or ``size`` is none within it.
        """
        self._check(image)
        height, width = image.shape[:2] if size is None else _checked_size(size, image)
        inputs = {self._input.name: image[None]}
        if self.cuts:
            inputs[SIZE] = np.array([height, width], np.int64)
        mask: np.ndarray = self.session.run(['mask'], inputs)[0][0]
        return mask[:height, :width]

    def _check(self, image: np.ndarray) -> None:
        wanted, dtype = self._input.shape[1:], self._input.type.removeprefix('tensor(').removesuffix(')')
        block = self.about['block_size']
        fits = image.ndim == 3 and all(
            not isinstance(a, int) or a == b for a, b in zip(wanted, image.shape, strict=True)
        )
        if not fits or image.dtype != dtype or any(side % block for side in image.shape[:2]):
            sides = ' x '.join(str(one) if isinstance(one, int) else f'a multiple of {block}' for one in wanted)
            raise ImageFormatError(
                f'Expected an image of {sides}, {dtype}, but got {" x ".join(map(str, image.shape))}, {image.dtype}. '
                'Resize it, or export the model for this size.'
            )


def _checked_size(size: Any, image: np.ndarray) -> tuple[int, int]:
    limit = image.shape[:2]
    listed = isinstance(size, list | tuple) or (isinstance(size, np.ndarray) and size.ndim == 1)
    sides = list(size) if listed else []
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides)
    if len(sides) != 2 or not whole or not all(0 < a <= b for a, b in zip(sides, limit, strict=True)):
        raise ImageFormatError(
            f'Expected `size` to be the height and the width in pixels, integers from 1 to {limit[0]} and {limit[1]}, '
            f'but got {size!r:.80}. Give that of the image before it was extended.'
        )
    return int(sides[0]), int(sides[1])
