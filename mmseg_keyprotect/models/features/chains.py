"""The streams of channels of each backbone: what writes to them and what reads from them, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from torch import nn

from mmseg_keyprotect.errors import ConfigError

Part = nn.Module | nn.Parameter


@dataclass
class Link:
    """A block of a chain.

    Args:
        places: The names of the places at its output, in order.
        writes: What writes to the stream: a convolution or linear layer, and the normalisation after it, or None.
        reads: What reads from the stream.
        follows: What normalises the stream itself, or is added to it.
        open: Whether the stream goes round the block (a residual connection), so that it has the order of its output
            at its input too.
        plain: Whether something outside reads the output.
    """

    places: Sequence[str]
    writes: list[tuple[nn.Module, nn.Module | None]] = field(default_factory=list)
    reads: list[Part] = field(default_factory=list)
    follows: list[Part] = field(default_factory=list)
    open: bool = True
    plain: bool = False


@dataclass
class Chain:
    """The links of a stream, its beginning included, and whether signs can be turned along it.

    Args:
        links: In order. The first is what embeds the image or the output of the stage before, where it is no block.
        signed: Whether the stream may carry other signs: it meets no ReLU and no LayerNorm.
        tail: A normalisation between the last link and the place of the stage, which may turn signs.
        tail_places: The places after it.
    """

    links: list[Link]
    signed: bool
    tail: nn.Module | None = None
    tail_places: Sequence[str] = ()


def impossible(reason: str, instead: str) -> ConfigError:
    """Return the error for what weights cannot be bound to."""
    return ConfigError(
        f'Expected an encryption of feature maps that trained weights can be bound to, but {reason}. {instead}, or '
        'train the model with the key from the start (feature_encryption.bind=False).'
    )


def _resnet(backbone: nn.Module) -> Iterator[Chain]:
    for number, name in enumerate(backbone.res_layers):
        links = []
        for index, block in enumerate(backbone.get_submodule(name)):
            if getattr(block, 'with_plugins', False):
                raise impossible('a plugin of the backbone reads the feature maps too', 'Take it out')
            last = 3 if hasattr(block, 'norm3_name') else 2
            link = Link(
                [f'stage={number}/block={index}'], [(getattr(block, f'conv{last}'), getattr(block, f'norm{last}'))]
            )
            if block.downsample is None:
                link.reads = [block.conv1]
            else:
                link.open = False
                link.writes.append((block.downsample[-2], block.downsample[-1]))
            links.append(link)
        if links[0].open:  # of ResNet-18 and -34, whose first stage goes on with what the stem puts out
            stem = (backbone.stem[-3], backbone.stem[-2]) if backbone.deep_stem else (backbone.conv1, backbone.norm1)
            links.insert(0, Link([], [stem], open=False))
        yield Chain(links, signed=False, tail_places=[f'stage={number}'])


def _mobilenet_v2(backbone: nn.Module) -> Iterator[Chain]:
    for number, name in enumerate(backbone.layers):
        links = []
        for index, block in enumerate(backbone.get_submodule(name)):
            last = block.conv[-1]
            link = Link([f'stage={number}/block={index}'], [(last.conv, last.norm)], open=block.use_res_connect)
            if link.open:
                link.reads = [block.conv[0].conv]
            links.append(link)
        yield Chain(links, signed=True, tail_places=[f'stage={number}'])


def _mix_transformer(backbone: nn.Module) -> Iterator[Chain]:
    for number, (embed, blocks, norm) in enumerate(backbone.layers):
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
        yield Chain(links, signed=False, tail=norm, tail_places=[f'stage={number}'])


def _vision_transformer(backbone: nn.Module) -> Iterator[Chain]:
    embed = backbone.patch_embed
    first = Link([], [(embed.projection, embed.norm)], follows=[backbone.cls_token, backbone.pos_embed], open=False)
    first.plain = backbone.out_origin
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
    yield Chain(links, signed=False)


CHAINS: dict[str, Callable[[nn.Module], Iterator[Chain]]] = {
    'ResNet': _resnet,
    'MobileNetV2': _mobilenet_v2,
    'MixVisionTransformer': _mix_transformer,
    'VisionTransformer': _vision_transformer,
}
"""By the name of the backbone's class, or of a class that it inherits."""


def find_chains(backbone: nn.Module) -> list[Chain]:
    """Return the streams of a backbone.

    Raises:
        ConfigError: They are not known.
    """
    for kind in type(backbone).__mro__:
        if kind.__name__ in CHAINS:
            return list(CHAINS[kind.__name__](backbone))
    raise impossible(f'the streams of a {type(backbone).__name__} are not known', f'Use one of {sorted(CHAINS)}')
