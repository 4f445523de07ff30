"""The weights of an ONNX file as a state dict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmseg_keyprotect.engine.sealed_checkpoints import read_content
from mmseg_keyprotect.errors import CheckpointError, MissingDependencyError

SUFFIX = '.onnx'

_WRAPPER = 'model.'
"""What `keyprotect export` and others put before the names of a model's weights."""


def read_onnx_weights(path: str | Path, key: Any = None) -> dict[str, Tensor]:
    """Read the weights of an ONNX file. Weights that it keeps in other files are not read.

    Args:
        path: The file, plain or sealed.
        key: The configuration of the key that opens a sealed file, as for
            :func:`~mmseg_keyprotect.keys.providers.seal_key`.

    Returns:
        The tensors by their names, without a prefix ``model.``.

    Raises:
        MissingDependencyError: onnx is not installed.
        MissingFileError: There is no such file.
        CheckpointError: The file is no ONNX file, or its weights are in other files.
        SealedFileError: The sealed file is damaged.
        WrongKeyError: The sealed file is for other keys.
    """
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError:
        raise MissingDependencyError.of('onnx', 'onnx') from None
    content = read_content(path, key)
    try:
        found = onnx.load_model_from_string(content).graph.initializer
        if any(one.data_location == onnx.TensorProto.EXTERNAL for one in found):
            raise ValueError('its weights are in other files')  # which a hostile file could name at will
        arrays = {one.name.removeprefix(_WRAPPER): _readable(numpy_helper.to_array(one)) for one in found}
        weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items() if array.dtype.kind in 'fiu'}
    except Exception as error:  # protobuf has a class of its own for each cause
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f'Expected an ONNX file with weights, but {path} is none: {reason}. Use another file, or '
            'save it as one file.'
        ) from None
    if not weights:
        raise CheckpointError(f'Expected an ONNX file with weights, but {path} has none. Use another file.')
    return weights


def _readable(array: Any) -> Any:
    """Return an array of a dtype that torch reads; numpy has no bfloat16."""
    return array.astype('float32') if array.dtype.name == 'bfloat16' else array
