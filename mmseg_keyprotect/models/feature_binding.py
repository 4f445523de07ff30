"""Weights that expect the keyed transforms of feature maps at run time, and compute what they did before.

A stage is a chain of blocks along one stream of channels. Whatever writes to the stream is rewritten so that it writes
the inverse of what the transforms further on will do; whatever reads from it between two places reads it in that order.
So the stage puts out what it did before, the heads and the other stages stay as they are, and without the transforms
they get the channels in disorder. Exact: only rows and columns of weights change places and signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.feature_ciphers import FeatureTransform
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.feature_encryption import FeatureEncryption, KeyedFeatures

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


@torch.no_grad()
def bind_features(backbone: nn.Module, encryption: FeatureEncryption) -> None:
    """Rewrite the weights of a backbone, in place, for the transforms that ``encryption`` does at run time.

    Args:
        backbone: With plain weights, its feature maps encrypted by ``encryption``.
        encryption: With a key.

    Raises:
        ConfigError: A cipher, or a choice of places, that no rewriting of weights can undo.
    """
    if encryption.cipher.block_size > 1:
        raise _impossible(
            'FeatureBlockShuffle mixes positions of the map, which no rewriting of channels can undo',
            'Use FeatureShuffle and FeatureSign',
        )
    transforms = {name: _only(function) for name, function in encryption.functions.items()}
    rewrites = [step for chain in _chains(backbone) for step in _solve(chain, transforms)]
    for rewrite, part, order in rewrites:  # after all of them are known to be possible
        rewrite(part, torch.from_numpy(order.source), torch.from_numpy(order.sign))


def _only(function: KeyedFeatures) -> FeatureTransform:
    (transform,) = function.transforms
    return transform


Step = tuple[Callable[[Part, Tensor, Tensor], None], Part, FeatureTransform]


def _solve(chain: Chain, transforms: dict[str, FeatureTransform]) -> Iterator[Step]:
    """Yield what is to be rewritten, and the order of the stream that it meets; from the last link to the first."""
    named = [name for link in chain.links for name in link.places] + list(chain.tail_places)
    if not set(named) & set(transforms):
        return
    channels = len(next(transforms[name] for name in named if name in transforms).source)
    plain = FeatureTransform(np.arange(channels), np.ones(channels, dtype=np.int8))
    after = _undoing(chain.tail_places, transforms, plain)
    if chain.tail is not None:
        yield _write, chain.tail, after
        after = FeatureTransform(after.source, plain.sign)
    for link in reversed(chain.links):
        if link.plain and not _same(after, plain):
            raise _impossible(
                'something between two encrypted places reads the feature map, such as one of several out_indices',
                'Encrypt one place after the last output that is read',
            )
        order = _undoing(link.places, transforms, after)
        if not chain.signed and (order.sign < 0).any():
            raise _impossible(
                'signs cannot be turned before a ReLU or inside a LayerNorm',
                "Use feature_encryption.cipher=dict(type='FeatureShuffle') alone",
            )
        for part, norm in link.writes:
            yield (_write if norm is None else _permute), part, order
            if norm is not None:
                yield _write, norm, order
        for part in link.reads:
            yield _read, part, order
        for part in link.follows:
            yield _write, part, order
        after = order
        if not link.open:
            return


def _undoing(
    places: Sequence[str], transforms: dict[str, FeatureTransform], wanted: FeatureTransform
) -> FeatureTransform:
    """Return the order that the transforms of some places turn into the order ``wanted``."""
    here = [transforms[name].inverse() for name in reversed(places) if name in transforms]
    return reduce(FeatureTransform.then, here, wanted)


def _same(one: FeatureTransform, other: FeatureTransform) -> bool:
    return np.array_equal(one.source, other.source) and np.array_equal(one.sign, other.sign)


def _write(part: Part, source: Tensor, sign: Tensor) -> None:
    """Let a module, or a parameter that is added to the stream, put out its channels in another order."""
    if isinstance(part, nn.Parameter):  # of tokens
        part.copy_(part[..., source] * sign)
        return
    sign = sign.to(part.weight)
    for value in (part.weight, part.bias):
        if value is not None:  # a block stem has several rows for each channel
            rows = value.reshape(len(source), -1)
            value.copy_((rows[source] * sign[:, None]).reshape(value.shape))
    for name in ('running_mean', 'running_var'):
        if getattr(part, name, None) is not None:
            getattr(part, name).copy_(getattr(part, name)[source])


def _permute(part: Part, source: Tensor, sign: Tensor) -> None:
    """Let a convolution put out its channels in another order; the normalisation after it turns the signs."""
    _write(part, source, torch.ones_like(sign))


def _read(part: Part, source: Tensor, sign: Tensor) -> None:
    """Let a module take its channels in another order."""
    weight = part.in_proj_weight if isinstance(part, nn.MultiheadAttention) else part.weight
    shape = [-1 if dim == 1 else 1 for dim in range(weight.ndim)]
    weight.copy_(weight[:, source] * sign.to(weight).view(shape))


def _impossible(reason: str, instead: str) -> ConfigError:
    return ConfigError(
        f'Expected an encryption of feature maps that trained weights can be bound to, but {reason}. {instead}, or '
        'train the model with the key from the start (feature_encryption.bind=False).'
    )


def _chains(backbone: nn.Module) -> list[Chain]:
    for kind in type(backbone).__mro__:
        if kind.__name__ in CHAINS:
            return list(CHAINS[kind.__name__](backbone))
    raise _impossible(f'the streams of a {type(backbone).__name__} are not known', f'Use one of {sorted(CHAINS)}')


def _resnet(backbone: nn.Module) -> Iterator[Chain]:
    for number, name in enumerate(backbone.res_layers):
        links = []
        for index, block in enumerate(backbone.get_submodule(name)):
            if getattr(block, 'with_plugins', False):
                raise _impossible('a plugin of the backbone reads the feature maps too', 'Take it out')
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
