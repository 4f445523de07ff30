"""Move a model with a block stem from one key to another without training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.config.view import (
    find_features,
    find_model,
    find_preprocessor,
    find_protections,
    kind_of,
    load_config,
)
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import new_file
from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.keys.providers import seal_key
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint, write_checkpoint
from mmseg_keyprotect.registered import PREPROCESSOR, SEGMENTORS


def rekey_checkpoint(
    config: str | Path, checkpoint: str | Path, target: str | Path, new_key: Any, old_key: Any = None
) -> Path:
    """Write a checkpoint that computes with the new key what the old checkpoint computes with the old key.

    Only the channels of the block stem are permuted and change their signs, so that a move back restores every bit.
    The new checkpoint holds weights and meta, but no state of the optimizer. The old one stays and stays usable.

    Args:
        config: The protected configuration file, with a block stem and
            :class:`~mmseg_keyprotect.models.KeyedSegDataPreProcessor`.
        checkpoint: A checkpoint of that configuration and of the old key. One that is read from ``sealed://`` is
            sealed again, with the new key or that of KEYPROTECT_SEAL_KEY_FILE.
        target: The file to make.
        new_key: The new key's configuration.
        old_key: The old key's configuration. By default that of ``config``, or the file that the environment variable
            KEYPROTECT_KEY_FILE names.

    Returns:
        The path of the new file.

    Raises:
        WrongKeyError: The checkpoint belongs to another key than ``old_key``.
        MissingFileError: The configuration or the checkpoint does not exist.
        CheckpointError: The checkpoint cannot be read, or does not fit the configuration.
        ConfigError: The configuration cannot be loaded, or its model has no block stem, or it encrypts feature maps.
        KeyFileError: A key cannot be loaded.
        OutputError: The target exists, or cannot be written.

    Example:
        >>> new_key = dict(type='KeyFile', path='new.key')
        >>> rekey_checkpoint('protected/c.py', 'protected/c.pth', 'rekeyed.pth', new_key)  # doctest: +SKIP
        PosixPath('rekeyed.pth')
    """
    with new_file(target) as temporary:
        cfg = load_config(config)
        if find_features(cfg):
            raise ConfigError(
                'Expected a model that encrypts images alone, but got one with feature_encryption. Bind the plain '
                'model to the new key: keyprotect protect CONFIG CHECKPOINT --features ... -o FOLDER'
            )
        if (kind := kind_of(find_preprocessor(cfg))) != PREPROCESSOR:
            raise ConfigError(
                f'Expected a configuration protected by {PREPROCESSOR}, but got {kind or "none"}. '
                'Give the one that the checkpoint was trained with.'
            )
        find_preprocessor(cfg).pop('key_id', None)
        if kind_of(find_model(cfg)) in SEGMENTORS.values():  # a tied block stem cannot be moved
            find_model(cfg)['block_stem'] = {**(find_model(cfg).get('block_stem') or {}), 'tied': False}
        arguments = find_protections(cfg)[0].cipher_arguments
        KeyedCipher(**{**arguments, **({} if old_key is None else dict(key=old_key))})  # refuses a key before the work
        cipher = KeyedCipher(**{**arguments, 'key': new_key})
        state, meta = read_checkpoint(checkpoint, old_key)
        model = build_model(cfg, old_key)
        stem = getattr(model, 'stem', None)
        if not isinstance(stem, BlockStem):
            raise ConfigError(
                'Expected a model with a block stem, but got one whose own first convolution was trained on images '
                'that its key encrypts. Such a model cannot change its key; train it again with the new key.'
            )
        load_strictly(model, state)
        _move(stem, cipher)
        identity = Identity(cipher.key_id, cipher.name)
        model.data_preprocessor.identity = identity
        write_checkpoint(model, meta, identity, temporary, seal_key(new_key) if is_sealed(checkpoint) else None)
    return Path(target)


@torch.no_grad()
def _move(stem: BlockStem, cipher: KeyedCipher) -> None:
    """Undo the signed permutation of the stem's key and apply that of ``cipher``."""
    absorber = stem.absorber
    if absorber is None:
        raise ConfigError('Expected a block stem that absorbs a key, but got one without. Set model.data_preprocessor.')
    channels, block_size = stem.plain_shape[1], stem.grid.block_size
    old_source, old_sign = absorber.transform(channels, block_size)
    new_source, new_sign = replace(absorber, keyed_cipher=cipher).transform(channels, block_size)
    plain_place = torch.argsort(old_source)[new_source]  # for each new channel, the old channel that holds its weights
    sign = (old_sign[plain_place] * new_sign).to(stem.weight)
    stem.weight.copy_(sign[:, None, None] * stem.weight[:, plain_place])
    if isinstance(stem.border, torch.Tensor):
        stem.border.copy_(sign * stem.border[plain_place])
