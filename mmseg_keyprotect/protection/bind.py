"""A trained model is bound to a key without training: its weights absorb the key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.engine.sealed_checkpoints import is_sealed
from mmseg_keyprotect.errors import AlreadyEncryptedError
from mmseg_keyprotect.files import new_folder
from mmseg_keyprotect.keys.identity import META_KEY, PARTS, identities_of, joined
from mmseg_keyprotect.keys.providers import seal_key
from mmseg_keyprotect.models.features.binding import bind_features
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint, write_checkpoint


def protect_checkpoint(
    config: str | Path,
    checkpoint: str | Path,
    folder: str | Path,
    cipher: CipherConfig | None = DEFAULT_CIPHER,
    key: Any = None,
    border: str = 'grey',
    seal: bool = False,
    features: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write a protected checkpoint and its configuration.

    Where images are encrypted, the first convolution absorbs the key; where feature maps are, channels of the
    backbone's weights change their places and signs. Everything else stays as it is.

    The checkpoint holds the weights, the old ``meta`` with the new configuration, spec version, key id and cipher;
    no state of the optimizer. The configuration is whole, so that the folder can be moved, and names no key.

    Args:
        config: The unprotected configuration, or ``mmseg::…``.
        checkpoint: Of that configuration.
        folder: The folder to make.
        cipher: Shuffle, negative-positive or both; None leaves images plain, where ``features`` is set.
        key: The key's configuration; by default the file that KEYPROTECT_KEY_FILE names.
        border: ``'grey'`` or ``'exact'``, see :class:`mmseg_keyprotect.models.BlockStem`.
        seal: Whether the checkpoint is sealed, with the key that KEYPROTECT_SEAL_KEY_FILE names, else with ``key``; it
            is then loaded as ``sealed://PATH``. One that is read from ``sealed://`` is sealed again in any case.
        features: If set, for example ``dict(stages='all')``, feature maps are encrypted,
            see :class:`mmseg_keyprotect.models.FeatureEncryption`.

    Returns:
        The paths of the configuration and of the checkpoint, in the folder, with the names of the sources.

    Raises:
        AlreadyEncryptedError: The configuration or the checkpoint is protected already.
        ConfigError: They cannot be protected, or do not fit.
        OutputError: The folder exists or cannot be written.
        BlockAlignmentError: The block size is no multiple of the first convolution's stride.
        KeyFileError: The key cannot be loaded.
    """
    with new_folder(folder) as temporary:
        block_stem = None if cipher is None else dict(border=border)
        cfg = protected(load_config(config), cipher, block_stem=block_stem, features=features)
        cfg['load_from'], cfg['resume'] = None, False  # they would name an unprotected checkpoint
        state, meta = read_checkpoint(checkpoint, key)
        if META_KEY in meta or any(f'{name}.protection' in state for name in PARTS):
            raise AlreadyEncryptedError(
                f'Expected an unprotected checkpoint, but {checkpoint} names a key. To change the key of a model with '
                'a block stem: python tools/rekey_checkpoint.py.'
            )
        model = build_model(cfg, key)
        identities = identities_of(model)
        load_strictly(model, {**state, **{f'{name}.protection': one.to_tensor() for name, one in identities.items()}})
        if features is not None:
            bind_features(model.backbone, model.feature_encryption)
        text = Config(cfg).pretty_text
        sealing_key = seal_key(key) if seal or is_sealed(checkpoint) else None
        write_checkpoint(
            model, {**meta, 'cfg': text}, joined(identities.values()), temporary / Path(checkpoint).name, sealing_key
        )
        (temporary / Path(config).name).write_text(text, encoding='utf-8')
    return Path(folder) / Path(config).name, Path(folder) / Path(checkpoint).name
