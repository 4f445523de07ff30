"""Where the feature maps of each backbone are: its stages, and the blocks inside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from mmseg_keyprotect.errors import ConfigError


@dataclass(frozen=True)
class Place:
    """A module whose output is a feature map.

    Args:
        name: As labels have it: ``stage=3`` or ``stage=3/block=0``; stages count from 0, as ``out_indices`` do.
        module: The module.
        channels: C.
        embedding: None where the map is (N, C, H, W); where it is a row of tokens (N, L, C), the module that cuts the
            image into them and returns their rows and columns.
    """

    name: str
    module: nn.Module
    channels: int
    embedding: nn.Module | None = None


@dataclass(frozen=True)
class Stage:
    """A stage of a backbone.

    Args:
        output: The module whose output goes on to the next stage and to the heads.
        blocks: The modules inside it.
        channels: C of its blocks' outputs and of its own.
        embedding: As of Place.
    """

    output: nn.Module
    blocks: Sequence[nn.Module]
    channels: int
    embedding: nn.Module | None = None


def _resnet(backbone: nn.Module) -> list[Stage]:
    layers = [backbone.get_submodule(name) for name in backbone.res_layers]
    return [Stage(layer, list(layer), _last_norm(layer[-1]).num_features) for layer in layers]


def _last_norm(block: nn.Module) -> nn.Module:
    return block.norm3 if hasattr(block, 'norm3_name') else block.norm2


def _mobilenet_v2(backbone: nn.Module) -> list[Stage]:
    layers = [backbone.get_submodule(name) for name in backbone.layers]
    return [Stage(layer, list(layer), layer[-1].conv[-1].conv.out_channels) for layer in layers]


def _mix_transformer(backbone: nn.Module) -> list[Stage]:
    return [Stage(norm, list(blocks), embed.embed_dims, embed) for embed, blocks, norm in backbone.layers]


def _vision_transformer(backbone: nn.Module) -> list[Stage]:
    return [Stage(layer, [layer], backbone.patch_embed.embed_dims, backbone.patch_embed) for layer in backbone.layers]


STAGES: dict[str, Callable[[nn.Module], list[Stage]]] = {
    'ResNet': _resnet,  # ResNetV1c, ResNetV1d and ResNeXt are ResNets
    'MobileNetV2': _mobilenet_v2,
    'MixVisionTransformer': _mix_transformer,
    'VisionTransformer': _vision_transformer,  # every layer is a stage of one block
}
"""By the name of the backbone's class, or of a class that it inherits."""


def find_stages(backbone: nn.Module) -> list[Stage]:
    """Return the stages of a backbone.

    Raises:
        ConfigError: The backbone is of another kind.
    """
    for kind in type(backbone).__mro__:
        if kind.__name__ in STAGES:
            return STAGES[kind.__name__](backbone)
    raise ConfigError(
        f'Expected a backbone whose feature maps can be encrypted, {sorted(STAGES)} or one that inherits them, but got '
        f'{type(backbone).__name__}. Encrypt the images alone, or add its stages to STAGES in '
        'mmseg_keyprotect/models/feature_places.py.'
    )


def find_places(
    backbone: nn.Module, stages: Sequence[int] | str | None = None, blocks: str | None = None
) -> list[Place]:
    """Return the places that a configuration names, in the order of the forward pass.

    Args:
        backbone: Of one of the classes of ``STAGES``.
        stages: Numbers of stages, or ``'all'``: their outputs.
        blocks: ``'all'``: the output of every block inside the stages.

    Raises:
        ConfigError: The backbone is of another kind, a stage does not exist or is listed twice, or nothing is named.
    """
    found = find_stages(backbone)
    chosen = list(range(len(found))) if stages == 'all' else _numbers(stages, len(found))
    if blocks not in (None, 'all') or not (chosen or blocks):
        raise ConfigError(
            "Expected feature_encryption with stages=(0, 1, ...), stages='all' or blocks='all', but got "
            f'stages={stages!r} and blocks={blocks!r}.'
        )
    places = []
    for number, stage in enumerate(found):
        inside = stage.blocks if blocks else []
        for index, block in enumerate(inside):
            if not (number in chosen and block is stage.output):  # a stage's only module is encrypted once
                places.append(Place(f'stage={number}/block={index}', block, stage.channels, stage.embedding))
        if number in chosen:
            places.append(Place(f'stage={number}', stage.output, stage.channels, stage.embedding))
    return places


def _numbers(stages: Sequence[int] | str | None, count: int) -> list[int]:
    if stages is None:
        return []
    if isinstance(stages, str) or not all(isinstance(n, int) and not isinstance(n, bool) for n in stages):
        raise ConfigError(f"Expected `stages` as numbers such as (0, 1, 2, 3), or 'all', but got {stages!r}.")
    if missing := [n for n in stages if not 0 <= n < count]:
        raise ConfigError(f'Expected stages out of 0 to {count - 1}, which the backbone has, but got {missing}.')
    if len(set(stages)) < len(stages):
        raise ConfigError(
            f'Expected every stage once, but got {list(stages)}: it would be encrypted twice. Take one away.'
        )
    return sorted(stages)
