"""Read checkpoints as untrusted input, and write the checkpoints of protected models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, cast

import torch
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.config.edit import model_with_key
from mmseg_keyprotect.engine.architecture import refuse_other_architectures
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed, load_from_sealed, without_scheme
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import CheckpointError, MissingFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.identity import META_KEY, PARTS, Identity
from mmseg_keyprotect.sealing import KeyRecipient
from mmseg_keyprotect.sealing.sealed_files import open_file, refuse_plain, sealing_into


def read_checkpoint(path: str | Path, key: Any = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and the meta of a checkpoint. Its other parts, such as the optimizer's state, are dropped.

    No code of the checkpoint runs: ``torch.load`` reads it with ``weights_only=True``.

    Args:
        path: A file of ``torch.save``, plain or sealed, with or without ``sealed://``. It holds a state dict, or a
            dict with one as ``state_dict``.
        key: The configuration of the key that opens a sealed checkpoint, as for
            :func:`~mmseg_keyprotect.keys.providers.seal_key`.

    Returns:
        The state dict, without the prefix ``module.`` of DistributedDataParallel, and the meta. The meta is empty
        where the checkpoint has none.

    Raises:
        MissingFileError: There is no such file.
        CheckpointError: The file cannot be read, or holds no weights.
        SealedFileError: The sealed file is damaged.
        WrongKeyError: The sealed file is for other keys.
    """
    file = Path(without_scheme(path))
    if not file.is_file():
        raise MissingFileError(f'Expected a checkpoint file, but {file} does not exist. Check the path.')
    checkpoint = load_from_sealed(str(path), 'cpu', key) if is_sealed(path) else _load(file)
    state = checkpoint.get('state_dict', checkpoint) or {}
    state = {str(name).removeprefix('module.'): value for name, value in state.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f'Expected a checkpoint with a state dict, but {path} holds none. Use another file.')
    return state, dict(checkpoint.get('meta') or {}) if 'state_dict' in checkpoint else {}


def is_bound(state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bool:
    """Tell whether a checkpoint names a key, in its weights or in its meta."""
    return META_KEY in meta or any(f'{part}.protection' in state for part in PARTS)


def _load(path: Path) -> dict[str, Any]:
    """Load a plain checkpoint; memory mapping leaves the parts that are not used on disk."""
    refuse_plain(path)
    with open_file(path) as file:
        mapped = file.read(4) == b'PK\x03\x04'  # a file of torch's old format cannot be mapped
    return load_weights_only(path, path, 'cpu', mmap=mapped)


def build_model(cfg: Mapping[str, Any], key: Any = None) -> BaseSegmentor:
    """Build the untrained model of a configuration, in evaluation mode.

    Args:
        cfg: The whole configuration, as a nested dict.
        key: The configuration of a key that replaces the one in ``cfg``. By default the model keeps its own.
    """
    init_default_scope(cfg.get('default_scope') or 'mmseg')
    return MODELS.build(model_with_key(cfg, key)).eval()


def load_strictly(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Load a state dict that must have every weight of the model. Other entries are ignored, as mmengine does.

    Raises:
        CheckpointError: Weights are missing, have another shape, or belong to another architecture.
    """
    refuse_other_architectures(model, state)
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
        problem = f'lacks {len(missing)} of them, for example {missing[0]}' if missing else ''
    except RuntimeError as error:  # torch lists the shapes that differ
        problem = 'has weights of other shapes: ' + ' '.join(str(error).split()[:60])
    if problem:
        raise CheckpointError(
            f'Expected a checkpoint with the weights of the configured model, but it {problem}. Give the configuration '
            'that the checkpoint was trained with.'
        )


def write_checkpoint(
    model: nn.Module, meta: Mapping[str, Any], identity: Identity | None, path: Path, seal: SecretKey | None = None
) -> None:
    """Write the weights of a model, the meta, and the public identity of the key.

    Args:
        model: The model.
        meta: The meta of the checkpoint that the model was made from.
        identity: The identity of the key and the cipher; None for a model that is bound to no key.
        path: The file to make.
        seal: The key that seals the file, which is then never plain on disk. By default the file is plain.
    """
    named = {} if identity is None else {META_KEY: identity.to_meta()}
    checkpoint = dict(meta={**meta, **named}, state_dict=model.state_dict())
    if seal is None:
        torch.save(checkpoint, path)
        return
    with open(path, 'wb') as file, sealing_into(file, [KeyRecipient(seal)], seal.key_id) as writer:
        torch.save(checkpoint, cast(IO[bytes], writer))
