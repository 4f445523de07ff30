"""MixVisionTransformer, the backbone of SegFormer."""

from __future__ import annotations

from mmseg_keyprotect.models.backbones.base import BackboneAdapter, register_backbone
from mmseg_keyprotect.models.backbones.layout import Chain, Link, Stage


@register_backbone('MixVisionTransformer')
class MixVisionTransformerAdapter(BackboneAdapter):
    """Describes a MixVisionTransformer. The final LayerNorm of a stage may change signs, the stream before it may not.

    Blocks hold tokens (N, L, C); the patch embedding of each stage returns their rows and columns.
    """

    first_convolutions = ('layers.0.0.projection',)

    def stages(self) -> list[Stage]:
        """Return the stages; the output of each is its final LayerNorm."""
        return [Stage(norm, list(blocks), embed.embed_dims, embed) for embed, blocks, norm in self.backbone.layers]

    def chains(self) -> list[Chain]:
        """Return the stream of each stage, which starts at its patch embedding."""
        chains = []
        for number, (embed, blocks, norm) in enumerate(self.backbone.layers):
            links = [Link([], [(embed.projection, embed.norm)], open=False)]
            for index, block in enumerate(blocks):
                attention, ffn = block.attn, block.ffn.layers
                link = Link([f'stage={number}/block={index}'], follows=[block.norm1, block.norm2])
                link.writes = [(attention.attn.out_proj, None), (ffn[4], None)]
                link.reads = [attention.attn, ffn[0]]
                if attention.sr_ratio > 1:
                    link.writes.append((attention.sr, attention.norm))
                    link.reads.append(attention.sr)
                links.append(link)
            chains.append(Chain(links, signed=False, tail=norm, tail_places=[f'stage={number}']))
        return chains
