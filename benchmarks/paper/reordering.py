"""Networks whose channels are reordered so that they compute the same, as whoever hides a copy would do it."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count, takewhile

import torch
from torch import Tensor

State = dict[str, Tensor]
FOLLOWING = ('weight', 'bias', 'running_mean', 'running_var')
HEADS = (1, 2, 5, 8)
"""Attention heads in each stage of SegFormer-B0 to B5."""


class Reordering:
    """Reorders the channels of a state dict.

    Args:
        state: The weights, by name. They stay as they are.
        seed: Of the random orders and signs.
    """

    def __init__(self, state: Mapping[str, Tensor], seed: int = 0) -> None:
        self.state = dict(state)
        self._generator = torch.Generator().manual_seed(seed)

    def order(self, channels: int) -> Tensor:
        """Draw an order."""
        return torch.randperm(channels, generator=self._generator)

    def signs(self, channels: int) -> Tensor:
        """Draw signs."""
        return 2.0 * torch.randint(0, 2, (channels,), generator=self._generator) - 1

    def size(self, layer: str) -> int:
        """Return the output channels of a layer."""
        return len(self.state[f'{layer}.weight'])

    def rows(self, order: Tensor, *layers: str) -> None:
        """Reorder what layers and normalisations write."""
        for name in (f'{layer}.{part}' for layer in layers for part in FOLLOWING):
            if name in self.state:
                self.state[name] = self.state[name][order]

    def columns(self, order: Tensor, *layers: str) -> None:
        """Reorder what layers read."""
        for name in (f'{layer}.weight' for layer in layers):
            self.state[name] = self.state[name][:, order]


def reordered_segformer(state: Mapping[str, Tensor]) -> State:
    """Reorder the streams of every stage, the channels inside MLPs, attention heads and the head of a SegFormer.

    The channels inside attention heads change their signs too.
    """
    new, before, fused = Reordering(state), None, []
    for stage, heads in enumerate(HEADS):
        layer, head = f'backbone.layers.{stage}', f'decode_head.convs.{stage}'
        stream = new.order(new.size(f'{layer}.0.projection'))
        if before is not None:
            new.columns(before, f'{layer}.0.projection')
        new.rows(stream, f'{layer}.0.projection', f'{layer}.0.norm', f'{layer}.2')
        for block in takewhile(lambda name: f'{name}.norm1.weight' in state, (f'{layer}.1.{i}' for i in count())):
            _reorder_block(new, block, stream, heads)
        inner = new.order(new.size(f'{head}.conv'))
        new.columns(stream, f'{head}.conv')
        new.rows(inner, f'{head}.conv', f'{head}.bn')
        fused.append(inner + stage * len(inner))
        before = stream
    last = new.order(new.size('decode_head.fusion_conv.conv'))
    new.columns(torch.cat(fused), 'decode_head.fusion_conv.conv')
    new.rows(last, 'decode_head.fusion_conv.conv', 'decode_head.fusion_conv.bn')
    new.columns(last, 'decode_head.conv_seg')
    return new.state


def _reorder_block(new: Reordering, block: str, stream: Tensor, heads: int) -> None:
    attention, ffn = f'{block}.attn.attn', f'{block}.ffn.layers'
    parts = torch.arange(len(stream)).reshape(heads, -1)
    query, value = (torch.cat([part[new.order(len(part))] for part in parts]) for _ in range(2))
    signs, value_signs = new.signs(len(stream)), new.signs(len(stream))
    rows = torch.cat([query, len(stream) + query, 2 * len(stream) + value])
    sign = torch.cat([signs, signs, value_signs])
    state = new.state
    state[f'{attention}.in_proj_weight'] = (state[f'{attention}.in_proj_weight'][rows] * sign[:, None])[:, stream]
    state[f'{attention}.in_proj_bias'] = state[f'{attention}.in_proj_bias'][rows] * sign
    new.columns(value, f'{attention}.out_proj')
    state[f'{attention}.out_proj.weight'] = state[f'{attention}.out_proj.weight'] * value_signs
    new.rows(stream, f'{attention}.out_proj', f'{block}.norm1', f'{block}.norm2')
    if f'{block}.attn.sr.weight' in state:
        new.columns(stream, f'{block}.attn.sr')
        new.rows(stream, f'{block}.attn.sr', f'{block}.attn.norm')
    hidden = new.order(new.size(f'{ffn}.0'))
    new.columns(stream, f'{ffn}.0')
    new.rows(hidden, f'{ffn}.0', f'{ffn}.1')
    new.columns(hidden, f'{ffn}.4')
    new.rows(stream, f'{ffn}.4')


def reordered_mobilenet(state: Mapping[str, Tensor]) -> State:
    """Reorder the channels inside every inverted residual of a MobileNetV2, the stem, and the head's last layer."""
    new = Reordering(state)
    stem = new.order(new.size('backbone.conv1.conv'))
    first = 'backbone.layer1.0.conv'
    new.rows(stem, 'backbone.conv1.conv', 'backbone.conv1.bn', f'{first}.0.conv', f'{first}.0.bn')
    new.columns(stem, f'{first}.1.conv')
    for name in [name for name in state if name.endswith('.conv.2.conv.weight')]:
        block = name.removesuffix('.2.conv.weight')
        inner = new.order(new.size(f'{block}.0.conv'))
        new.rows(inner, *(f'{block}.{i}.{part}' for i in (0, 1) for part in ('conv', 'bn')))
        new.columns(inner, f'{block}.2.conv')
    last = new.order(new.size('decode_head.bottleneck.conv'))
    new.rows(last, 'decode_head.bottleneck.conv', 'decode_head.bottleneck.bn')
    new.columns(last, 'decode_head.conv_seg')
    return new.state
