"""Turn a graph into the bytes of an ONNX file by torch's exporter."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from mmseg_keyprotect.errors import ConfigError, MissingDependencyError
from mmseg_keyprotect.export.exported_model import METADATA
from mmseg_keyprotect.export.graph import SegmentationGraph
from mmseg_keyprotect.export.true_size import add_true_size

OPSET = 20
"""The version of ONNX's operators."""

SMALLEST = 96
"""Pixels of the shorter side of the image that a graph for images of any size is made with."""

_LOGGERS = ('torch.onnx', 'onnxscript', 'onnx_ir')


def onnx_bytes(
    graph: SegmentationGraph,
    size: tuple[int, int] | None,
    channels: int,
    block_size: int,
    about: Mapping[str, Any],
    true_size: bool = False,
) -> bytes:
    """Return a graph as an ONNX file.

    Args:
        graph: The graph.
        size: (H, W) of the images, in pixels; None for any multiple of the block size.
        channels: C, of the images.
        block_size: M, in pixels.
        about: The metadata.
        true_size: Whether the graph has the input ``size``, to which it cuts its outputs.

    Raises:
        ConfigError: torch cannot export the model.
        MissingDependencyError: onnx, onnxscript or onnxruntime is missing.
    """
    # two images of an unusual size: torch takes 1, and the size that a model was made for, as fixed
    sides = size or [-(-side // block_size) * block_size for side in (SMALLEST + 1, 2 * SMALLEST)]
    image = torch.zeros(2, *sides, channels, dtype=torch.uint8 if graph.scale == 1 else torch.uint16)
    shapes: dict[int, Any] = {0: torch.export.Dim('images')}
    if size is None:
        shapes |= {axis: block_size * torch.export.Dim(name) for axis, name in ((1, 'rows'), (2, 'columns'))}
    outputs = ['mask', 'logits'][: 1 + graph.logits]
    proto = onnx_model(graph, {'image': image}, outputs, [shapes], {METADATA: json.dumps(about)}, size is not None)
    if true_size:
        add_true_size(proto)
    content: bytes = proto.SerializeToString()
    return content


def onnx_model(
    graph: nn.Module,
    inputs: Mapping[str, Tensor],
    outputs: Sequence[str],
    shapes: Sequence[Mapping[int, Any]],
    metadata: Mapping[str, str],
    fixed: bool,
) -> Any:
    """Return a module as an ``onnx.ModelProto``.

    Args:
        graph: The module, in eval mode.
        inputs: An example of each input, by name.
        outputs: The names of its outputs.
        shapes: What torch.export calls dynamic shapes, for each input.
        metadata: The metadata of the file.
        fixed: Whether it is exported for images of one size, for the error.

    Raises:
        ConfigError: torch cannot export the module.
        MissingDependencyError: onnx, onnxscript or onnxruntime is missing.
    """
    for name in ('onnx', 'onnxscript', 'onnxruntime'):  # torch and the comparison import them late
        if find_spec(name) is None:
            raise MissingDependencyError.of(name, 'onnx')
    try:
        with _quietly():
            program = torch.onnx.export(
                graph,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_shapes=tuple(shapes) if len(shapes) == 1 else (tuple(shapes),),
                verbose=False,
            )
        assert program is not None
        program.model.metadata_props.update(metadata)
        for node in program.model.graph.all_nodes():  # the paths of source files on this machine
            node.metadata_props.clear()
            node.doc_string = None
        return program.model_proto
    except Exception as error:  # torch has a class of its own for each cause
        line = (str(error.__cause__ or error).strip().splitlines() or [''])[0][:200]
        raise ConfigError(
            f'Expected a model that torch can export, but got {type(error).__name__}: {line}. '
            + ('Use another backbone or head.' if fixed else 'Give a fixed size: --size H W.')
        ) from error


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep what concerns the exporter's authors from the console."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for one, level in zip(loggers, before, strict=True):
            one.setLevel(level)
