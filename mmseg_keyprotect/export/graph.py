"""A segmentor as one function of the pixels of images, from uint8 to classes."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

from mmseg_keyprotect.export.any_size import for_any_size


class SegmentationGraph(nn.Module):
    """Predicts the class of each pixel: normalisation, padding, the network, the cut to the size of the image.

    It computes what the segmentor's own ``predict`` does in the mode ``whole``, without the pipeline: images are not
    resized.

    Args:
        model: The segmentor, in eval mode. Some layers are replaced in place.
        rgb: Whether the network reads colour images as RGB; else BGR.
        max_value: The largest sample of an image: 255, or that of the cipher's samples.
        logits: Whether to return the logits too.
    """

    def __init__(self, model: BaseSegmentor, rgb: bool, max_value: int = 255, logits: bool = False) -> None:
        super().__init__()
        for_any_size(model)
        self.model, self.rgb, self.scale, self.logits = model, rgb, 255 / max_value, logits
        head: Any = model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
        self.threshold = float(getattr(head, 'threshold', None) or 0.5)  # of one class alone
        self.mask_dtype = torch.uint8 if model.num_classes <= 256 else torch.int32

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Predict.

        Args:
            image: (N, H, W, C), integers from 0 to ``max_value``; colours as RGB.

        Returns:
            The class of each pixel, uint8 (N, H, W), or int32 where the model has more than 256 classes; and with
            ``logits`` float32 (N, K, H, W).
        """
        return self.predict(image) if self.logits else self.predict(image)[:1]

    def predict(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return the classes and the logits, as ``forward`` does."""
        height, width = image.shape[1:3]
        x = self.inputs(image)
        size = tuple(x.shape[2:])
        logits = self.model.encode_decode(x, [dict(img_shape=size, pad_shape=size)])[..., :height, :width]
        return self.scores(logits).argmax(1).to(self.mask_dtype), logits

    def inputs(self, image: Tensor) -> Tensor:
        """Return what the network reads, float32 (N, C, H, W): normalised, and padded as for a test."""
        return self._padded(self._normalised(image.permute(0, 3, 1, 2).float() * self.scale))

    def scores(self, logits: Tensor) -> Tensor:
        """Return a score for each class: the logits, and for a single one also what it has to exceed."""
        if self.model.out_channels > 1:
            return logits
        return torch.cat([torch.full_like(logits, math.log(self.threshold / (1 - self.threshold))), logits], 1)

    def _normalised(self, x: Tensor) -> Tensor:
        preprocessor: SegDataPreProcessor = self.model.data_preprocessor
        if x.shape[1] == 3 and not self.rgb:
            x = x[:, [2, 1, 0]]
        return (x - preprocessor.mean) / preprocessor.std if preprocessor._enable_normalize else x

    def _padded(self, x: Tensor) -> Tensor:
        """Pad as mmseg's ``stack_batch`` does for a test."""
        preprocessor: SegDataPreProcessor = self.model.data_preprocessor
        test, (height, width) = preprocessor.test_cfg or {}, x.shape[2:]
        if size := test.get('size'):
            below, right = torch.sym_max(size[0] - height, 0), torch.sym_max(size[1] - width, 0)
        elif divisor := test.get('size_divisor'):
            below, right = -height % divisor, -width % divisor
        else:
            return x
        return F.pad(x, (0, right, 0, below), value=preprocessor.pad_val)
