"""VisionTransformer, the backbone of SETR."""

from __future__ import annotations

from mmseg_keyprotect.models.backbones.base import BackboneAdapter, register_backbone
from mmseg_keyprotect.models.backbones.layout import Chain, Link, Stage


@register_backbone('VisionTransformer')
class VisionTransformerAdapter(BackboneAdapter):
    """Describes a VisionTransformer. Every layer is a stage of one block, on tokens (N, L, C)."""

    first_convolutions = ('patch_embed.projection',)

    def stages(self) -> list[Stage]:
        """Return one stage for each layer."""
        embed = self.backbone.patch_embed
        return [Stage(layer, [layer], embed.embed_dims, embed) for layer in self.backbone.layers]

    def chains(self) -> list[Chain]:
        """Return the one stream that passes all layers, from the patch embedding on."""
        backbone, embed = self.backbone, self.backbone.patch_embed
        added = [backbone.cls_token, backbone.pos_embed]
        first = Link([], [(embed.projection, embed.norm)], follows=added, open=False, plain=backbone.out_origin)
        if backbone.pre_norm:
            first.follows.append(backbone.pre_ln)
        links = [first]
        for index, layer in enumerate(backbone.layers):
            ffn = layer.ffn.layers
            link = Link([f'stage={index}/block=0', f'stage={index}'], follows=[layer.norm1, layer.norm2])
            link.writes = [(layer.attn.attn.out_proj, None), (ffn[-2], None)]
            link.reads = [layer.attn.attn, ffn[0][0]]
            link.plain = index in backbone.out_indices or index == len(backbone.layers) - 1
            links.append(link)
        return [Chain(links, signed=False)]
