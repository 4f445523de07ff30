"""Weights that expect the keyed transforms of feature maps at run time, and compute what they did before.

A stage is a chain of blocks along one stream of channels. Whatever writes to the stream is rewritten so that it writes
the inverse of what the transforms further on will do; whatever reads from it between two places reads it in that order.
So the stage puts out what it did before, the heads and the other stages stay as they are, and without the transforms
they get the channels in disorder. Exact: only rows and columns of weights change places and signs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.chains import Chain, Part, find_chains, impossible
from mmseg_keyprotect.models.features.encryption import FeatureEncryption, KeyedFeatures


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
        raise impossible(
            'FeatureBlockShuffle mixes positions of the map, which no rewriting of channels can undo',
            'Use FeatureShuffle and FeatureSign',
        )
    transforms = {name: _only(function) for name, function in encryption.functions.items()}
    rewrites = [step for chain in find_chains(backbone) for step in _solve(chain, transforms)]
    for rewrite, part, order in rewrites:  # after all of them are known to be possible
        rewrite(part, *map(torch.from_numpy, order.signed_permutation()))


def _only(function: KeyedFeatures) -> BlockTransform:
    (step,) = function.steps
    return step.transform


Step = tuple[Callable[[Part, Tensor, Tensor], None], Part, BlockTransform]


def _solve(chain: Chain, transforms: dict[str, BlockTransform]) -> Iterator[Step]:
    """Yield what is to be rewritten, and the order of the stream that it meets; from the last link to the first."""
    named = [name for link in chain.links for name in link.places] + list(chain.tail_places)
    if not set(named) & set(transforms):
        return
    channels = len(next(transforms[name] for name in named if name in transforms).source)
    plain = BlockTransform(np.arange(channels))
    after = _undoing(chain.tail_places, transforms, plain)
    if chain.tail is not None:
        yield _write, chain.tail, after
        after = BlockTransform(after.source)
    for link in reversed(chain.links):
        if link.plain and not _same(after, plain):
            raise impossible(
                'something between two encrypted places reads the feature map, such as one of several out_indices',
                'Encrypt one place after the last output that is read',
            )
        order = _undoing(link.places, transforms, after)
        if not chain.signed and order.mask.any():
            raise impossible(
                'signs cannot be turned before a ReLU or inside a LayerNorm',
                "Use feature_encryption.cipher=dict(type='FeatureShuffle') alone (--feature-cipher shuffle)",
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


def _undoing(places: Sequence[str], transforms: dict[str, BlockTransform], wanted: BlockTransform) -> BlockTransform:
    """Return the order that the transforms of some places turn into the order ``wanted``."""
    here = [transforms[name].inverse() for name in reversed(places) if name in transforms]
    return reduce(BlockTransform.then, here, wanted)


def _same(one: BlockTransform, other: BlockTransform) -> bool:
    return np.array_equal(one.source, other.source) and np.array_equal(one.mask, other.mask)


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
