"""Reading checkpoints as hostile input, and writing them without what a protected model must not carry."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.config.view import PREPROCESSOR, find_model
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed, load_from_sealed, without_scheme
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.identity import META_KEY, Identity
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.sealing.sealed_files import sealing_into


def read_checkpoint(path: str | Path, key: Any = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and the meta of a checkpoint; other parts, such as the optimizer's, are not even loaded.

    Args:
        path: A file of ``torch.save``, or ``sealed://`` and a sealed one: a state dict, or a dict that holds one as
            ``state_dict``.
        key: The configuration of the key of a sealed one, as for ``seal_key``.

    Returns:
        The state dict, without the ``module.`` of DDP, and the meta, empty where there is none.

    Raises:
        ConfigError: There is no such file, or it holds something else.
    """
    file = Path(without_scheme(path))
    if not file.is_file():
        raise ConfigError(f'Expected a checkpoint file, but {file} does not exist. Download it first, check the path.')
    try:
        checkpoint = load_from_sealed(str(path), 'cpu', key) if is_sealed(path) else _load(file)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        line = (str(error).splitlines() or [''])[0]
        raise ConfigError(
            f'Expected a checkpoint of weights, but {path} cannot be read as one: {line} Use another copy of it.'
        ) from None
    state = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, Mapping) else {}
    state = {str(name).removeprefix('module.'): value for name, value in state.items() if isinstance(value, Tensor)}
    meta = checkpoint.get('meta') if 'state_dict' in checkpoint else None
    if not state:
        raise ConfigError(f'Expected a checkpoint with a state dict, but {path} holds none. Use another file.')
    return state, dict(meta) if isinstance(meta, Mapping) else {}


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location='cpu', weights_only=True, mmap=True)
    except RuntimeError:  # a file of the old format, which cannot be mapped
        return torch.load(path, map_location='cpu', weights_only=True)


def build_model(cfg: Mapping[str, Any], key: Any = None) -> nn.Module:
    """Build the untrained model of a protected configuration, with ``key`` in the place of its own where given."""
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    model = Config(dict(model=find_model(cfg))).model
    if key is not None:
        if model.data_preprocessor.type == PREPROCESSOR:
            model.data_preprocessor.update(key=key)
        if model.get('feature_encryption'):
            model.feature_encryption.update(key=key)
    return MODELS.build(model).eval()


def load_strictly(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict that must fit; what the model does not know is left out, as mmengine leaves it.

    Raises:
        ConfigError: Weights are missing, or have another shape.
    """
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
        problem = f'lacks {len(missing)} of them, {missing[0]} for one' if missing else ''
    except RuntimeError as error:  # torch's list of shapes that differ
        problem = 'has others: ' + ' '.join(str(error).split()[:60])
    if problem:
        raise ConfigError(
            f'Expected a checkpoint with the weights of the configured model, but it {problem}. Give the configuration '
            'that the checkpoint was trained with.'
        )


def write_checkpoint(
    model: nn.Module, meta: Mapping[str, Any], identity: Identity, path: Path, seal: SecretKey | None = None
) -> None:
    """Write the weights of a protected model and the public identity of its key; nothing else.

    Args:
        model: The model.
        meta: Of the checkpoint that it was made from.
        identity: Of the key.
        path: The file to make.
        seal: If set, the file is sealed with this key and never plain on disk.
    """
    checkpoint = dict(meta={**meta, META_KEY: identity.to_meta()}, state_dict=model.state_dict())
    if seal is None:
        torch.save(checkpoint, path)
        return
    with open(path, 'wb') as file, sealing_into(file, [KeyRecipient(seal)], seal.key_id) as writer:
        torch.save(checkpoint, writer)
