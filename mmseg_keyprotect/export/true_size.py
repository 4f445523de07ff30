"""The cut to the true size of an image inside a graph, by a second input."""

from __future__ import annotations

from typing import Any

SIZE = 'size'
"""The input: int64 (2,), height and width in pixels."""

_AXES = {'mask': [1, 2], 'logits': [2, 3]}
"""Rows and columns of each output."""


def add_true_size(model: Any) -> None:
    """Give a graph the input ``size``, to which it cuts each of its outputs, in place.

    The operator takes a larger size as that of the image, so that the caller checks it.

    Args:
        model: An ``onnx.ModelProto`` with the output ``mask``, (N, H, W), and perhaps ``logits``, (N, K, H, W).
    """
    from onnx import TensorProto, helper

    graph = model.graph
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [f'{name}_whole' if name in _AXES else name for name in names]
    graph.input.append(helper.make_tensor_value_info(SIZE, TensorProto.INT64, [2]))
    graph.initializer.append(helper.make_tensor('size_start', TensorProto.INT64, [2], [0, 0]))
    for output in graph.output:
        axes = _AXES[output.name]
        names = [f'{output.name}_whole', 'size_start', SIZE, f'{output.name}_axes']
        graph.initializer.append(helper.make_tensor(names[-1], TensorProto.INT64, [2], axes))
        graph.node.append(helper.make_node('Slice', names, [output.name], f'cut_{output.name}'))
        for axis, name in zip(axes, ('height', 'width'), strict=True):
            output.type.tensor_type.shape.dim[axis].Clear()
            output.type.tensor_type.shape.dim[axis].dim_param = name
