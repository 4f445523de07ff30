"""Bind a trained model to a key without training: its weights absorb the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import Tensor

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, KeyedCipher
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed
from mmseg_keyprotect.errors import AlreadyEncryptedError
from mmseg_keyprotect.files import new_folder
from mmseg_keyprotect.keys.identity import identities_of, joined
from mmseg_keyprotect.keys.providers import build_key, seal_key
from mmseg_keyprotect.models.features.binding import bind_features
from mmseg_keyprotect.protection.checkpoints import (
    build_model,
    is_bound,
    load_strictly,
    read_checkpoint,
    write_checkpoint,
)


def protect_checkpoint(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    cipher: CipherConfig | None = DEFAULT_CIPHER,
    key: Any = None,
    border: str = 'grey',
    seal: bool = False,
    features: Mapping[str, Any] | None = None,
    mark: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] | None = None,
) -> tuple[Path, Path]:
    """Write the protected checkpoint of a trained model, and its configuration.

    Encryption of images changes the first convolution, which absorbs the key. Encryption of feature maps permutes
    channels of the backbone's weights and flips their signs. All other weights stay as they are.

    The new checkpoint holds the weights and the old ``meta``, extended by the new configuration, the spec version,
    the key id and the cipher. It holds no state of the optimizer. The new configuration inherits no file, so that the
    folder can be moved, and names no key.

    Args:
        config: The unprotected configuration file, or ``mmseg::NAME`` for one of MMSegmentation's own.
        checkpoint: A checkpoint of that configuration.
        folder: The folder to make.
        cipher: The configuration of shuffle, negative-positive or both, or None to encrypt ``features`` alone.
        key: The key's configuration. By default the environment variable KEYPROTECT_KEY_FILE names the key file.
        border: ``'grey'`` or ``'exact'``, as for :class:`~mmseg_keyprotect.models.BlockStem`.
        seal: Whether to seal the checkpoint, which then loads as ``sealed://PATH``. The environment variable
            KEYPROTECT_SEAL_KEY_FILE names the file of the sealing key; by default ``key`` seals. A checkpoint that
            is read from ``sealed://`` is always sealed again.
        features: The arguments of :class:`~mmseg_keyprotect.models.features.encryption.FeatureEncryption`, for
            example ``dict(stages='all')``. By default feature maps stay plain.
        mark: A function that returns marked weights for plain ones, before they are bound, as
            :func:`~mmseg_keyprotect.ownership.protect_copy` gives one. A model may be marked without a cipher and
            without ``features``, and is then bound to no key.

    Returns:
        The paths of the configuration and of the checkpoint, in the folder, with the file names of the sources.

    Raises:
        AlreadyEncryptedError: The configuration or the checkpoint is protected already.
        MissingFileError: The configuration or the checkpoint does not exist.
        CheckpointError: The checkpoint cannot be read, or does not fit the configuration.
        ConfigError: The configuration cannot be loaded or protected.
        BlockAlignmentError: The block size is not a multiple of the first convolution's stride.
        KeyFileError: The key cannot be loaded.
        OutputError: The folder exists, or cannot be made.

    Example:
        >>> protect_checkpoint('my_config.py', 'my_model.pth', 'protected')  # doctest: +SKIP
        (PosixPath('protected/my_config.py'), PosixPath('protected/my_model.pth'))
    """
    with new_folder(folder) as temporary:
        block_stem = None if cipher is None else dict(border=border)
        cfg = load_config(config)
        if mark is None or cipher is not None or features is not None:
            cfg = protected(cfg, cipher, block_stem=block_stem, features=features)
        cfg['load_from'], cfg['resume'] = None, False  # either would load an unprotected checkpoint
        if cipher is not None:  # a key that is missing is refused before the work
            KeyedCipher(cipher, key)
        elif features is not None:
            build_key(key)
        state, meta = read_checkpoint(checkpoint, key)
        if is_bound(state, meta):
            raise AlreadyEncryptedError(
                f'Expected an unprotected checkpoint, but {checkpoint} names a key. To change the key of a model with '
                'a block stem, run: keyprotect rekey CONFIG CHECKPOINT --new-key-file NEW.key -o REKEYED.pth'
            )
        if mark is not None:
            state = mark(state)
        model = build_model(cfg, key)
        identities = identities_of(model)
        load_strictly(model, {**state, **{f'{name}.protection': one.to_tensor() for name, one in identities.items()}})
        if features is not None:
            bind_features(model.backbone, model.feature_encryption)
        text = Config(cfg).pretty_text
        sealing_key = seal_key(key) if seal or is_sealed(checkpoint) else None
        identity = joined(identities.values()) if identities else None
        write_checkpoint(model, {**meta, 'cfg': text}, identity, temporary / Path(checkpoint).name, sealing_key)
        (temporary / Path(config).name).write_text(text, encoding='utf-8')
    return Path(folder) / Path(config).name, Path(folder) / Path(checkpoint).name
