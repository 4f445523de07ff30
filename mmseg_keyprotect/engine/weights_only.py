"""Read checkpoints as untrusted input: ``torch.load`` with ``weights_only=True``, and errors that name the file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.runner import checkpoint as mmengine_checkpoint

from mmseg_keyprotect.errors import CheckpointError, KeyProtectError
from mmseg_keyprotect.message_hub import readable_message_hub


def load_weights_only(file: Any, name: str | Path, map_location: Any = None, mmap: bool = False) -> dict[str, Any]:
    """Read a checkpoint without running any code in it.

    Args:
        file: The path of a file, or a binary file object.
        name: How errors name the file.
        map_location: As for ``torch.load``.
        mmap: As for ``torch.load``. Parts that are not used then stay on disk.

    Returns:
        The dict in the checkpoint. ``state_dict``, ``meta`` and ``message_hub``, where there are any, are mappings.

    Raises:
        CheckpointError: The file cannot be read, holds code, or holds no dict.
    """
    try:
        with readable_message_hub():
            checkpoint = torch.load(file, map_location=map_location, weights_only=True, mmap=mmap)
    except KeyProtectError:
        raise
    except Exception as error:  # torch raises errors of many types for a file that is damaged or holds code
        raise CheckpointError(
            f'Expected a checkpoint of weights, but {name} cannot be read as one: {_reason(error)}. Use another copy '
            'of it. A checkpoint that holds more than weights can run code: save its weights alone.'
        ) from None
    if not isinstance(checkpoint, dict):
        raise CheckpointError(
            f'Expected a checkpoint that is a dict, but {name} holds a {type(checkpoint).__name__}. Use another file.'
        )
    for part in ('state_dict', 'meta', 'message_hub'):
        found = checkpoint.get(part)
        if found is not None and not isinstance(found, Mapping):
            raise CheckpointError(
                f'Expected `{part}` of a checkpoint to be a dict, but {name} has a {type(found).__name__}. Use another '
                'copy of it.'
            )
    return checkpoint


def _reason(error: Exception) -> str:
    """Return the reason of an error in one line, without torch's advice on how to turn the check off."""
    for line in str(error).rpartition('WeightsUnpickler error:')[2].splitlines():
        reason = line.partition('Please use `torch')[0].strip().rstrip('.')
        if reason and not reason.startswith(('Weights only load failed', '(1)', '(2)')):
            return reason[:300]
    return type(error).__name__


def _with_weights_only(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def load(*args: Any, **kwargs: Any) -> Any:
        with readable_message_hub():
            return function(*args, **{**kwargs, 'weights_only': True})

    return load


for _name in ('load_url', '_safe_torch_load'):  # by default torch.hub, and onedl-mmengine after a failure, run code
    _function = getattr(mmengine_checkpoint, _name, None)
    if _function is not None and _function.__module__ != __name__:
        _loader = _with_weights_only(_function)
        _loader.__module__ = __name__
        setattr(mmengine_checkpoint, _name, _loader)
