"""Any MMSegmentation 1.x configuration becomes a protected one that inherits it."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.ciphers.build import CipherConfig, build_cipher
from mmseg_keyprotect.config.checks import aligned, check_structure, raise_problems, sizes_in
from mmseg_keyprotect.config.view import (
    PREPROCESSOR,
    file_of,
    find_features,
    find_model,
    find_protections,
    load_config,
    mmseg_configs,
)
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError
from mmseg_keyprotect.files import write_new
from mmseg_keyprotect.keys import SecretKey

_PACKAGE = 'mmseg_keyprotect'

SEGMENTORS = ('KeyedCascadeEncoderDecoder', 'KeyedEncoderDecoder')
"""The segmentors with a block stem or encrypted feature maps, named after MMSegmentation's own."""


def protect_config(
    source: str | Path,
    target: str | Path,
    cipher: CipherConfig | None = DEFAULT_CIPHER,
    key: Any = None,
    block_stem: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
) -> Path:
    """Write a configuration that inherits ``source`` and protects it, for whole and slide testing and TTA.

    The preprocessor encrypts. Crops, paddings and slide windows that are no whole number of blocks are set to the
    nearest that are.

    Args:
        source: The configuration file, or ``mmseg::…`` for one of MMSegmentation's own.
        target: The file to make.
        cipher: The cipher's configuration; None leaves images plain, where ``features`` is set.
        key: The key's configuration; by default none is written and KEYPROTECT_KEY_FILE names the key file.
        block_stem: If set, for example ``dict(border='grey')``, the model gets a block stem,
            see :class:`mmseg_keyprotect.models.BlockStem`.
        features: If set, for example ``dict(stages='all')``, feature maps are encrypted,
            see :class:`mmseg_keyprotect.models.FeatureEncryption`.

    Returns:
        The path of the new file.

    Raises:
        AlreadyEncryptedError: The configuration is protected already.
        WeakCipherError: The cipher has less than 80 key bits and ``allow_weak`` is not set.
        ConfigError: It cannot be protected; the message says why.
        OutputError: The target exists or cannot be written.
    """
    base = _base_of(source, target)
    old = load_config(source)
    new = protected(old, cipher, key, block_stem, features)
    overrides = Config(_difference(old, new)).pretty_text
    return write_new(target, f'_base_ = {base!r}\n{overrides}')


def protected(
    cfg: dict[str, Any],
    cipher: CipherConfig | None = DEFAULT_CIPHER,
    key: Any = None,
    block_stem: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return a protected copy of a whole configuration; see :func:`protect_config`."""
    found = [protection.place for protection in find_protections(cfg)]
    if found := found + ['model.feature_encryption'] * bool(find_features(cfg)):
        raise AlreadyEncryptedError(
            f'Expected an unprotected configuration, but {found[0]} encrypts already. '
            'Change the cipher there, or start from the unprotected configuration.'
        )
    if cipher is None and (features is None or block_stem is not None):
        raise ConfigError(
            'Expected something to encrypt, images or feature maps, and encrypted images for a block stem, but got '
            'no cipher. Give one, or features without a block stem.'
        )
    cfg = copy.deepcopy(cfg)
    keyed = {} if key is None else dict(key=key)
    if cipher is not None:
        _encrypt_images(cfg, cipher, keyed, block_stem is not None)
    if block_stem is not None:
        _set_segmentor(find_model(cfg), 'a block stem')
        find_model(cfg)['block_stem'] = dict(block_stem)
    if features is not None:
        _set_segmentor(find_model(cfg), 'encrypted feature maps')
        find_model(cfg)['feature_encryption'] = {**features, **keyed}
    own = cfg.get('custom_imports') or {}
    imports = own.get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    may_fail = own.get('allow_failed_imports', False)
    cfg['custom_imports'] = dict(imports=[*imports, _PACKAGE], allow_failed_imports=may_fail)
    cfg['custom_hooks'] = [*(cfg.get('custom_hooks') or []), dict(type='KeyGuardHook')]
    raise_problems(check_structure(cfg))
    return cfg


def _encrypt_images(cfg: dict[str, Any], cipher: CipherConfig, keyed: Mapping[str, Any], stem: bool) -> None:
    built = build_cipher(cipher, SecretKey.generate())  # any key shows whether the cipher is sound
    if stem:
        built.transform.signed_permutation()  # and whether a block stem can absorb it
    preprocessor = find_model(cfg).get('data_preprocessor') or {}
    if '.' in str(preprocessor.get('type')):
        raise ConfigError(
            "Expected a configuration with `_base_`, but got one in mmengine's new style, with `read_base()`. Set "
            f'model.data_preprocessor.type to {PREPROCESSOR} in it, or start from the one with `_base_`.'
        )
    if preprocessor.get('type') != 'SegDataPreProcessor':
        raise ConfigError(
            'Expected a configuration whose model.data_preprocessor is a SegDataPreProcessor, but got '
            f'{preprocessor.get("type", "none")}. Only images that this preprocessor normalises can be encrypted '
            'by its place; put KeyedBlockEncrypt into the pipelines instead.'
        )
    wrapped = dict(cfg, model=dict(module=find_model(cfg)))  # as test-time augmentation has it
    for _, holder, name in [*sizes_in(cfg), *sizes_in(wrapped)]:
        holder[name] = aligned(holder[name], built.block_size)
    protection = dict(type=PREPROCESSOR, cipher=cipher, **keyed)
    preprocessor.update(protection)
    if cfg.get('data_preprocessor'):  # the one that test-time augmentation gets
        cfg['data_preprocessor'].update(protection)


def _set_segmentor(model: dict[str, Any], wanted: str) -> None:
    if model.get('type') in SEGMENTORS:
        return
    kind = f'Keyed{model.get("type")}'
    if kind not in SEGMENTORS:
        raise ConfigError(
            f'Expected a segmentor that can have {wanted}, {sorted(SEGMENTORS)} without "Keyed", but got '
            f'{model.get("type")}. Protect it without.'
        )
    model['type'] = kind


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a configuration that inherits ``old`` must say to become ``new``: lists whole, dicts in part."""
    changed = {}
    for name, value in new.items():
        before = old.get(name)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := _difference(before, value):
                changed[name] = inner
        elif name not in old or value != before:
            changed[name] = value
    return changed


def _base_of(source: str | Path, target: str | Path) -> str:
    """Say how the target names its base: ``mmseg::…`` for MMSegmentation's own, else a relative path."""
    file = file_of(source)
    if file.resolve().is_relative_to(mmseg_configs()):
        return f'mmseg::{file.resolve().relative_to(mmseg_configs()).as_posix()}'
    folder = Path(target).parent
    if Path(os.path.abspath(folder)) != folder.resolve():  # mmengine does not follow `..` through a link
        return file.resolve().as_posix()
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
