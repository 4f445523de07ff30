"""A model with a block stem moves from one key to another without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.protect import SEGMENTORS
from mmseg_keyprotect.config.view import (
    PREPROCESSOR,
    find_features,
    find_model,
    find_preprocessor,
    find_protections,
    load_config,
)
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.keys.providers import seal_key
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint, write_checkpoint


def rekey_checkpoint(
    config: str | Path, checkpoint: str | Path, target: str | Path, new_key: Any, old_key: Any = None
) -> Path:
    """Write the checkpoint of another key; with it the model gives what the old one gives with the old key.

    Only channels of the block stem change their places and signs: going back restores every bit. Weights and meta are
    kept, no state of the optimizer.

    Args:
        config: The protected configuration, with a block stem and KeyedSegDataPreProcessor.
        checkpoint: Of that configuration and of the old key.
        target: The file to make.
        new_key: The new key's configuration.
        old_key: The old key's configuration; by default that of ``config``, or the file that KEYPROTECT_KEY_FILE names.

    Returns:
        The path of the new file.

    Raises:
        WrongKeyError: The checkpoint is of another key than ``old_key``.
        ConfigError: The model has no block stem, the checkpoint does not fit, or the target exists.
        KeyFileError: A key cannot be loaded.
    """
    with new_file(target) as temporary:
        cfg = load_config(config)
        if find_features(cfg):
            raise ConfigError(
                'Expected a model whose images alone are encrypted, but got one with feature_encryption. Bind the '
                'plain model to the new key: python tools/protect_checkpoint.py --features.'
            )
        if find_preprocessor(cfg).get('type') != PREPROCESSOR:
            raise ConfigError(
                f'Expected a configuration protected by {PREPROCESSOR}, but got {find_preprocessor(cfg).get("type")}. '
                'Give the one that the checkpoint was trained with.'
            )
        find_preprocessor(cfg).pop('key_id', None)
        if str(find_model(cfg).get('type')) in SEGMENTORS:  # whose block stem is to be free, to be moved
            find_model(cfg)['block_stem'] = {**(find_model(cfg).get('block_stem') or {}), 'tied': False}
        state, meta = read_checkpoint(checkpoint, old_key)
        model = build_model(cfg, old_key)
        stem = getattr(model, 'stem', None)
        if not isinstance(stem, BlockStem):
            raise ConfigError(
                'Expected a model with a block stem, but got one whose own first convolution was trained on images of '
                'its key: such a model cannot change its key. Train it again with the new key.'
            )
        load_strictly(model, state)
        arguments = {**find_protections(cfg)[0].cipher_arguments, 'key': new_key}
        cipher = KeyedCipher(**arguments)
        _move(stem, cipher)
        identity = Identity(cipher.key_id, cipher.name)
        model.data_preprocessor.protection = identity.to_tensor()
        write_checkpoint(model, meta, identity, temporary, seal_key(new_key) if is_sealed(checkpoint) else None)
    return Path(target)


@torch.no_grad()
def _move(stem: BlockStem, cipher: KeyedCipher) -> None:
    """Undo the signed permutation of the stem's key and apply that of ``cipher``."""
    channels, block_size = stem.plain_shape[1], stem.grid.block_size
    old_source, old_sign = stem.absorber.transform(channels, block_size)
    new_source, new_sign = replace(stem.absorber, keyed_cipher=cipher).transform(channels, block_size)
    plain_place = torch.argsort(old_source)[new_source]  # where the old stem has what the new one shall have
    sign = (old_sign[plain_place] * new_sign).to(stem.weight)
    stem.weight.copy_(sign[:, None, None] * stem.weight[:, plain_place])
    if stem.border is not None:
        stem.border.copy_(sign * stem.border[plain_place])
