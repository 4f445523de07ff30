"""The two parts of a segmentor as functions that torch can export."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmseg_keyprotect.export.graph import SegmentationGraph
from mmseg_keyprotect.models.private_side.segmentor import PrivateSideSegmentor


class PublicGraph(nn.Module):
    """Computes feature maps from pixels: normalisation, padding, the backbone.

    Args:
        graph: The whole segmentor as a graph.
        dtype: The type of the feature maps.
    """

    def __init__(self, graph: SegmentationGraph, dtype: torch.dtype) -> None:
        super().__init__()
        self.whole, self.dtype = graph, dtype

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return feature maps (N, C, h, w) for images, uint8 (N, H, W, 3), RGB."""
        return tuple(one.to(self.dtype) for one in self.whole.model.public_features(self.whole.inputs(image)))


class PrivateGraph(nn.Module):
    """Computes logits from feature maps: the neck and the decode head.

    Args:
        model: The segmentor.
    """

    def __init__(self, model: PrivateSideSegmentor) -> None:
        super().__init__()
        self.neck: Any = model.neck if model.with_neck else nn.Identity()
        self.head: Any = model.decode_head

    def forward(self, *features: Tensor) -> Tensor:
        """Return logits (N, K, h, w), in the resolution of the head."""
        logits: Tensor = self.head(self.neck([one.float() for one in features]))
        return logits
