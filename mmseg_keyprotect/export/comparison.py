"""Compare an exported model with the one in torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.export.graph import SegmentationGraph

TIE = 1e-3
"""Two classes are a tie of rounding where their logits differ by less than this share of all logits' deviation."""


@dataclass(frozen=True)
class Comparison:
    """What the comparison found for one image.

    Args:
        size: (H, W) of the image.
        same: The share of pixels of the same class, 0 to 1.
        margin: The largest difference between the logits, in torch, of the two classes of a pixel that differs, in
            standard deviations of the logits; 0 if none differs.
    """

    size: tuple[int, int]
    same: float
    margin: float


class Exported(Protocol):
    """What runs an exported model."""

    cuts: bool

    def predict(self, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return the class of each pixel of an image, cut to a size."""
        ...


@torch.no_grad()
def compare(
    graph: SegmentationGraph, exported: Exported, images: Sequence[np.ndarray], tie: float = TIE
) -> list[Comparison]:
    """Compare the classes that both give.

    Args:
        graph: The model in torch.
        exported: The same in onnxruntime.
        images: As the models take them, (H, W, C).
        tie: The largest margin that passes.

    Raises:
        ConfigError: They differ by more than rounding.
    """
    found = []
    for image in images:
        height, width = image.shape[:2]
        if exported.cuts:  # rows and columns by different amounts
            height, width = max(height - 1, 1), max(width - 2, 1)
        mask, logits = (one[..., :height, :width] for one in graph.predict(torch.from_numpy(image)[None]))
        here, there = mask[0].long(), torch.from_numpy(exported.predict(image, (height, width))).long()
        differs = here != there
        margin = 0.0
        if differs.any():
            scores = graph.scores(logits)[0]
            pairs = (scores.gather(0, one[None])[0] for one in (here, there))
            first, second = pairs
            margin = float(((first - second).abs() / scores.std())[differs].max())
        one = Comparison(image.shape[:2], 1 - float(differs.float().mean()), margin)
        if not margin <= tie:  # logits that are not finite give no margin
            raise ConfigError(
                f'Expected the exported model to give the classes that torch gives, but of an image of {one.size[0]} x '
                f'{one.size[1]} pixels {one.same:.1%} are the same. Export it for the size of your images: --size H W.'
            )
        found.append(one)
    return found
