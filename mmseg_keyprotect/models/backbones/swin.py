"""SwinTransformer."""

from __future__ import annotations

from mmseg_keyprotect.models.backbones.base import BackboneAdapter, register_backbone


@register_backbone('SwinTransformer')
class SwinTransformerAdapter(BackboneAdapter):
    """Describes the stem of a SwinTransformer; its feature maps cannot be encrypted."""

    first_convolutions = ('patch_embed.projection',)
