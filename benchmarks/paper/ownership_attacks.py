"""What is done to marked copies before they are traced. None of it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.paper.reordering import State, reordered_mobilenet, reordered_segformer
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.ownership import mark_weights
from mmseg_keyprotect.ownership.weights import marked_tensors


@dataclass(frozen=True)
class Copies:
    """The copies of one original.

    Args:
        original: The plain weights, by name.
        key: The owner's key.
        strength: Of the marks, in standard deviations of a tensor.
    """

    original: State
    key: SecretKey
    strength: float

    def take(self, count: int) -> list[State]:
        """Return the copies of the first recipients."""
        return [mark_weights(self.original, self.key, recipient, self.strength) for recipient in recipients(count)]

    def changed(self, change: Callable[[Tensor], Tensor]) -> State:
        """Return the first copy with every marked tensor changed."""
        (copy,) = self.take(1)
        return copy | {name: change(copy[name]) for name in marked_tensors(self.original)}


def recipients(count: int) -> list[str]:
    """Return the names of the first recipients."""
    return [f'recipient-{number}' for number in range(count)]


def _noise(share: float, tensor: Tensor) -> Tensor:
    drawn = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(tensor.numel()))
    return tensor + share * tensor.std() * drawn


def _pruned(share: float, tensor: Tensor) -> Tensor:
    least = tensor.abs().flatten().kthvalue(max(1, round(share * tensor.numel()))).values
    return torch.where(tensor.abs() > least, tensor, 0)


def _quantised(bits: int, tensor: Tensor) -> Tensor:
    """Round to integers with one scale for each output channel, and back."""
    scale = tensor.abs().flatten(1).amax(1).clamp_min(1e-12) / (2 ** (bits - 1) - 1)
    scale = scale.reshape(-1, *[1] * (tensor.ndim - 1))
    return (tensor / scale).round() * scale


def _rounded(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return tensor.to(dtype).to(tensor.dtype)


def _combined(count: int, how: str, copies: Copies) -> State:
    """Return the element-wise average or median of several copies."""
    states = copies.take(count)
    result = dict(states[0])
    for name in marked_tensors(copies.original):
        stacked = torch.stack([state[name] for state in states])
        result[name] = stacked.mean(0) if how == 'average' else stacked.quantile(0.5, dim=0)
    return result


def _reordered(copies: Copies) -> State:
    (copy,) = copies.take(1)
    return (reordered_mobilenet if 'backbone.conv1.conv.weight' in copy else reordered_segformer)(copy)


def _reordered_int8(copies: Copies) -> State:
    copy = _reordered(copies)
    return copy | {name: _quantised(8, copy[name]) for name in marked_tensors(copies.original)}


def _new_head(copies: Copies) -> State:
    """Replace the decode head by an untrained one of other classes."""
    (copy,) = copies.take(1)
    drawn = torch.Generator().manual_seed(0)
    head = {
        name: torch.randn(tensor.shape, generator=drawn) * 0.02
        for name, tensor in copy.items()
        if name.startswith(('decode_head', 'auxiliary_head')) and tensor.is_floating_point()
    }
    shape = copy['decode_head.conv_seg.weight'].shape
    head['decode_head.conv_seg.weight'] = torch.randn((shape[0] + 3, *shape[1:]), generator=drawn)
    return copy | head


def _each(change: Callable[[Tensor], Tensor]) -> Callable[[Copies], State]:
    return lambda copies: copies.changed(change)


ATTACKS: dict[str, tuple[int, Callable[[Copies], State]]] = {
    'untouched': (1, lambda copies: copies.take(1)[0]),
    'float16': (1, _each(partial(_rounded, torch.float16))),
    'bfloat16': (1, _each(partial(_rounded, torch.bfloat16))),
    'int8': (1, _each(partial(_quantised, 8))),
    'int4': (1, _each(partial(_quantised, 4))),
    'noise of 5%': (1, _each(partial(_noise, 0.05))),
    'noise of 30%': (1, _each(partial(_noise, 0.3))),
    'noise of 100%': (1, _each(partial(_noise, 1.0))),
    'pruned by 20%': (1, _each(partial(_pruned, 0.2))),
    'pruned by 50%': (1, _each(partial(_pruned, 0.5))),
    'pruned by 90%': (1, _each(partial(_pruned, 0.9))),
    **{f'average of {count} copies': (count, partial(_combined, count, 'average')) for count in (2, 5, 10)},
    **{f'median of {count} copies': (count, partial(_combined, count, 'median')) for count in (5, 10)},
    'channels reordered, signs flipped': (1, _reordered),
    'the same, int8': (1, _reordered_int8),
    'new head': (1, _new_head),
}
"""For each attack the number of copies that it takes, and what it does. The median of two copies is their average."""

UNSCORED = ('new head',)
"""The attacks whose mIoU says nothing, as their model is not trained to its end."""
