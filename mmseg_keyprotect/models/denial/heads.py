"""The logits of every head of a segmentor for one batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn


def all_logits(model: BaseSegmentor, images: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Compute what every head of a segmentor gives, in one pass through the backbone.

    Args:
        model: The segmentor.
        images: Float (N, C, H, W), as the backbone gets them.

    Returns:
        The logits of the model, float (N, classes, H, W); and those of its auxiliary heads, and of the first head of a
        cascade, float (N, classes, h, w). Heads with other outputs, such as one for edges, are left out.
    """
    with _kept_features(model) as kept:
        logits = model.encode_decode(images, [dict(img_shape=images.shape[-2:])] * len(images))
    outputs = [_first(head.forward(kept[0])) for head in _other_heads(model)]
    return logits, [one for one in outputs if one.ndim == 4 and one.shape[1] == logits.shape[1]]


def _other_heads(model: BaseSegmentor) -> list[nn.Module]:
    """Return the auxiliary heads, and the first head of a cascade."""
    auxiliary = getattr(model, 'auxiliary_head', None)
    heads = list(auxiliary) if isinstance(auxiliary, nn.ModuleList) else [auxiliary] if auxiliary is not None else []
    return [*heads, model.decode_head[0]] if isinstance(model.decode_head, nn.ModuleList) else heads


@contextmanager
def _kept_features(model: BaseSegmentor) -> Iterator[list[Any]]:
    """Within the ``with`` block, keep what the heads of a model get."""
    kept: list[Any] = []
    last = model.neck if model.with_neck else model.backbone
    handle = last.register_forward_hook(lambda module, args, output: kept.append(output))
    try:
        yield kept
    finally:
        handle.remove()


def _first(output: Any) -> Tensor:
    """Return the first tensor of what a head gives."""
    return output if isinstance(output, Tensor) else _first(output[0])
