"""ConvNeXt of mmpretrain."""

from __future__ import annotations

from mmseg_keyprotect.models.backbones.base import BackboneAdapter, register_backbone


@register_backbone('ConvNeXt')
class ConvNeXtAdapter(BackboneAdapter):
    """Describes the stem of a ConvNeXt; its feature maps cannot be encrypted."""

    first_convolutions = ('downsample_layers.0.0',)
