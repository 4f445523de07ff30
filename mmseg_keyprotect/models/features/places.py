"""Where feature maps are encrypted: the outputs of stages and of the blocks inside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.backbones import adapter_of


@dataclass(frozen=True)
class Place:
    """A module whose output is a feature map that is encrypted.

    Args:
        name: The name in the labels of key derivation: ``stage=3`` or ``stage=3/block=0``. Stages count from 0, as in
            ``out_indices``.
        module: The module.
        channels: C, of the feature map.
        embedding: None where the map has the shape (N, C, H, W). Where it is a row of tokens (N, L, C), the module
            that cuts the image into tokens and returns them with their ``(rows, columns)``.
    """

    name: str
    module: nn.Module
    channels: int
    embedding: nn.Module | None = None


def find_places(
    backbone: nn.Module, stages: Sequence[int] | str | None = None, blocks: str | None = None
) -> list[Place]:
    """Return the places that a configuration names, in the order of the forward pass.

    A module that is both the output of a chosen stage and its only block is one place.

    Args:
        backbone: A backbone whose adapter describes its stages.
        stages: Numbers of stages from 0, or ``'all'``, to encrypt the outputs of these stages.
        blocks: ``'all'``, to encrypt the output of every block inside the stages.

    Raises:
        ConfigError: The backbone is of another kind, a stage does not exist or is listed twice, or nothing is named.

    Example:
        >>> from mmseg.models.backbones import MobileNetV2
        >>> [(place.name, place.channels) for place in find_places(MobileNetV2(), stages=(0, 6))]
        [('stage=0', 16), ('stage=6', 320)]
    """
    found = adapter_of(backbone).stages()
    chosen = list(range(len(found))) if stages == 'all' else _numbers(stages, len(found))
    if blocks not in (None, 'all') or not (chosen or blocks):
        raise ConfigError(
            "Expected feature_encryption with stages=(0, 1, ...), stages='all' or blocks='all', but got "
            f'stages={stages!r} and blocks={blocks!r}. Set one of them.'
        )
    places = []
    for number, stage in enumerate(found):
        inside = stage.blocks if blocks else []
        for index, block in enumerate(inside):
            if not (number in chosen and block is stage.output):
                places.append(Place(f'stage={number}/block={index}', block, stage.channels, stage.embedding))
        if number in chosen:
            places.append(Place(f'stage={number}', stage.output, stage.channels, stage.embedding))
    return places


def _numbers(stages: Sequence[int] | str | None, count: int) -> list[int]:
    """Return the numbers of the chosen stages, sorted, and check that each exists and is listed once."""
    if stages is None:
        return []
    if isinstance(stages, str) or not all(isinstance(n, int) and not isinstance(n, bool) for n in stages):
        raise ConfigError(
            f"Expected `stages` as numbers such as (0, 1, 2, 3), or 'all', but got {stages!r}. Set one of these."
        )
    if missing := [n for n in stages if not 0 <= n < count]:
        raise ConfigError(
            f'Expected stages out of 0 to {count - 1}, which the backbone has, but got {missing}. Remove these.'
        )
    if len(set(stages)) < len(stages):
        raise ConfigError(
            f'Expected every stage once, but got {list(stages)}, which would be encrypted twice. Remove the repeated '
            'number.'
        )
    return sorted(stages)
