"""MobileNetV2 with the dilation of TensorFlow's DeepLab."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones import MobileNetV2
from mmseg.registry import MODELS


@MODELS.register_module()
class DilatedMobileNetV2(MobileNetV2):
    """MobileNetV2 whose dilation starts after the block that gave up its stride, as in TensorFlow's DeepLab.

    The first block of a stage has the dilation that ``dilations`` gives it, the other blocks that of the next stage.
    MMSegmentation's MobileNetV2 dilates first blocks only, so weights from TensorFlow lose accuracy in it. Both have
    the same arguments.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, dilation in zip(self.layers, self.dilations[1:], strict=False):
            for block in list(getattr(self, name))[1:]:
                block.conv[1].conv.dilation = block.conv[1].conv.padding = (dilation, dilation)
