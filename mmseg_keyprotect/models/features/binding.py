"""Rewrites weights so that they expect encrypted feature maps, and compute what they did before.

A stage is a chain of blocks along one stream of channels. Each part that writes to the stream is rewritten to write the
inverse of what the later transforms do. Each part that reads from the stream between two places is rewritten to read
that order. So the stage has the output that it had before, and the heads and the other stages stay as they are. Without
the transforms, the heads and the other stages get their channels in disorder. The rewriting is exact: rows and columns
of weights change their positions and signs, and nothing else changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.backbones import Chain, Part, adapter_of, binding_error
from mmseg_keyprotect.models.features.encryption import FeatureEncryption, KeyedFeatures


@torch.no_grad()
def bind_features(backbone: nn.Module, encryption: FeatureEncryption) -> None:
    """Rewrite the weights of a backbone, in place, for the transforms that ``encryption`` applies at run time.

    Nothing is rewritten where an error is raised.

    Args:
        backbone: A backbone with plain weights, whose feature maps ``encryption`` encrypts.
        encryption: The encryption, with its key in use.

    Raises:
        ConfigError: No rewriting of weights can undo the cipher at these places, the streams of channels of the
            backbone are not known, or the transforms in use are not those of a key.

    Example:
        >>> import torch
        >>> from mmseg.models.backbones import MobileNetV2
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> from mmseg_keyprotect.models.features.encryption import FeatureEncryption
        >>> backbone, image = MobileNetV2(out_indices=(6,)), torch.rand(1, 3, 64, 64)
        >>> backbone.train(False)
        >>> plain = backbone(image)[0]
        >>> encryption = FeatureEncryption(backbone, stages='all', key=SecretKey.generate())
        >>> bind_features(backbone, encryption)
        >>> torch.allclose(backbone(image)[0], plain, atol=1e-5)
        True
    """
    for rewrite, part, order in _rewrites(backbone, encryption):
        rewrite(part, *map(torch.from_numpy, order.signed_permutation()))


@torch.no_grad()
def fold_features(backbone: nn.Module, encryption: FeatureEncryption) -> None:
    """Move the transforms of ``encryption`` into the weights of a backbone, in place; none is applied any more.

    The backbone computes what it did before, to rounding, without a further step at run time.
    :func:`~mmseg_keyprotect.models.features.binding.unfold_features` takes them out again. What is folded already stays
    so, and nothing is rewritten where an error is raised.

    Args:
        backbone: A backbone whose feature maps ``encryption`` encrypts, with any weights.
        encryption: The encryption, with its key in use.

    Raises:
        ConfigError: As for :func:`~mmseg_keyprotect.models.features.binding.bind_features`.
    """
    if encryption.folded is not None:
        return
    for rewrite, part, order in _rewrites(backbone, encryption):
        rewrite(part, *map(torch.from_numpy, order.inverse().signed_permutation()))
    encryption.folded = encryption.keyed_functions
    encryption.use(encryption.identity_functions)


def unfold_features(backbone: nn.Module, encryption: FeatureEncryption) -> None:
    """Undo :func:`~mmseg_keyprotect.models.features.binding.fold_features`, to the bit.

    A backbone that is not folded stays as it is.
    """
    if encryption.folded is None:
        return
    encryption.use(encryption.folded)
    encryption.folded = None
    bind_features(backbone, encryption)


def _rewrites(backbone: nn.Module, encryption: FeatureEncryption) -> list[Rewrite]:
    """Return what binds a backbone; all of it is known to be possible.

    Raises:
        ConfigError: See :func:`~mmseg_keyprotect.models.features.binding.bind_features`.
    """
    if encryption.cipher.block_size > 1:
        raise binding_error(
            'FeatureBlockShuffle mixes positions of the feature map, which no rewriting of channels can undo',
            'Use FeatureShuffle and FeatureSign',
        )
    transforms = {name: _only(function) for name, function in encryption.keyed_functions.items()}
    return [step for chain in adapter_of(backbone).chains() for step in _solve(chain, transforms)]


def _only(function: KeyedFeatures) -> BlockTransform:
    """Return the transform of channels, which is one step: ciphers without blocks are folded into one."""
    (step,) = function.steps
    return step.transform


Rewrite = tuple[Callable[[Part, Tensor, Tensor], None], Part, BlockTransform]
"""A function that rewrites a part, the part, and the order of channels that the part is rewritten for."""


def _solve(chain: Chain, transforms: dict[str, BlockTransform]) -> Iterator[Rewrite]:
    """Yield the rewrites of a chain, from the last link to the first."""
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
            raise binding_error(
                'something between two encrypted places reads the feature map, such as one of several out_indices',
                'Encrypt one place, after the last output that is read',
            )
        order = _undoing(link.places, transforms, after)
        if not chain.signed and order.mask.any():
            raise binding_error(
                'signs cannot be changed before a ReLU or inside a LayerNorm',
                "Use feature_encryption.cipher=dict(type='FeatureShuffle') alone (`--feature-cipher shuffle`)",
            )
        for layer, norm in link.writes:
            yield (_write if norm is None else _permute), layer, order
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
    """Return the order that the transforms at some places, one after the other, turn into the order ``wanted``."""
    here = [transforms[name].inverse() for name in reversed(places) if name in transforms]
    return reduce(BlockTransform.then, here, wanted)


def _same(one: BlockTransform, other: BlockTransform) -> bool:
    return np.array_equal(one.source, other.source) and np.array_equal(one.mask, other.mask)


def _write(part: Any, source: Tensor, sign: Tensor) -> None:
    """Rewrite a module, or a parameter that is added to the stream, to write its channels in another order."""
    if isinstance(part, nn.Parameter):  # a class token or a position embedding, (..., C)
        part.copy_(part[..., source] * sign)
        return
    sign = sign.to(part.weight)
    for value in (part.weight, part.bias):
        if value is not None:  # a block stem has several rows for one channel
            rows = value.reshape(len(source), -1)
            value.copy_((rows[source] * sign[:, None]).reshape(value.shape))
    for name in ('running_mean', 'running_var'):
        if getattr(part, name, None) is not None:
            getattr(part, name).copy_(getattr(part, name)[source])


def _permute(part: Any, source: Tensor, sign: Tensor) -> None:
    """Rewrite a convolution to write its channels in another order; the normalisation after it changes the signs."""
    _write(part, source, torch.ones_like(sign))


def _read(part: Any, source: Tensor, sign: Tensor) -> None:
    """Rewrite a module to read its channels in another order."""
    weight = part.in_proj_weight if isinstance(part, nn.MultiheadAttention) else part.weight
    shape = [-1 if dim == 1 else 1 for dim in range(weight.ndim)]
    weight.copy_(weight[:, source] * sign.to(weight).view(shape))
