"""Tell a checkpoint of another architecture from one of another key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from mmseg_keyprotect.errors import CheckpointError

LEAST_SHARE = 0.5
"""A checkpoint of which fewer weights than this share have a place in the model is one of another architecture."""


def refuse_other_architectures(model: nn.Module, state: Mapping[str, Any]) -> None:
    """Refuse a checkpoint most of whose entries have no place in the model.

    Such a checkpoint names another key, or none, so that an error about keys would hide the cause.

    Args:
        model: The model.
        state: The state dict of the checkpoint; a prefix ``module.`` of its names does not count.

    Raises:
        CheckpointError: Fewer than half of the entries have a place.
    """
    names = [str(name).removeprefix('module.') for name in state]
    places = set(model.state_dict())
    foreign = [name for name in names if name not in places]
    if names and len(names) - len(foreign) < LEAST_SHARE * len(names):
        raise CheckpointError(
            f'Expected weights of the configured {type(model).__name__}, but {len(foreign)} of {len(names)} entries of '
            f'the checkpoint have no place in it, for example {foreign[0]}: it belongs to another architecture, or its '
            'names have a prefix. Give the configuration that it was trained with, or take the prefix off.'
        )
