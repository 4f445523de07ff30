"""MobileNetV2 as TensorFlow's DeepLab dilates it."""

from __future__ import annotations

from typing import Any

from mmseg.models.backbones import MobileNetV2
from mmseg.registry import MODELS


@MODELS.register_module()
class DilatedMobileNetV2(MobileNetV2):
    """MobileNetV2 whose dilation begins behind the block that gave up its stride, as TensorFlow's DeepLab has it.

    The first block of a stage has the dilation that ``dilations`` says, the others that of the next stage;
    MMSegmentation's own dilates first blocks only, so that weights from TensorFlow lose accuracy.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, dilation in zip(self.layers, self.dilations[1:], strict=False):
            for block in list(getattr(self, name))[1:]:
                block.conv[1].conv.dilation = block.conv[1].conv.padding = (dilation, dilation)
