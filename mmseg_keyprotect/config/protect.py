"""Make a protected configuration out of any MMSegmentation 1.x configuration."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER
from mmseg_keyprotect.ciphers.build import CipherConfig, build_cipher
from mmseg_keyprotect.config.channels import RGB, image_channels
from mmseg_keyprotect.config.checks import check_structure, raise_problems
from mmseg_keyprotect.config.checks.sizes import aligned, sizes_in
from mmseg_keyprotect.config.edit import model_with_key
from mmseg_keyprotect.config.view import (
    Node,
    find_features,
    find_model,
    find_protections,
    is_new_style,
    kind_of,
    load_config,
)
from mmseg_keyprotect.config_files import SCHEME, config_file, mmseg_configs
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError, KeyProtectError
from mmseg_keyprotect.files import write_new
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.registered import HOOK, PREPROCESSOR, SEGMENTORS, TRANSFORM

_PACKAGE = 'mmseg_keyprotect'


def protect_config(
    source: str | Path,
    target: str | Path,
    cipher: CipherConfig | None = DEFAULT_CIPHER,
    key: Any = None,
    block_stem: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
) -> Path:
    """Write a configuration that inherits ``source`` and encrypts in training, testing and inference.

    The preprocessor encrypts, so that whole and slide testing and test-time augmentation work. Crops, paddings and
    slide windows that are not whole blocks change to the nearest size that is.

    A file of mmengine's new style, with ``read_base()`` or classes for types, cannot be inherited by ``_base_``. The
    new file then holds the whole configuration.

    Args:
        source: The configuration file, or ``mmseg::NAME`` for one of MMSegmentation's own.
        target: The file to make.
        cipher: The cipher's configuration, or None to encrypt ``features`` alone.
        key: The key's configuration. By default the new file names no key, and the environment variable
            KEYPROTECT_KEY_FILE names the key file.
        block_stem: The arguments of a :class:`~mmseg_keyprotect.models.BlockStem` that the model gets, for example
            ``dict(border='grey')``. By default the model keeps its own first convolution.
        features: The arguments of :class:`~mmseg_keyprotect.models.features.encryption.FeatureEncryption` by which
            the model encrypts feature maps, for example ``dict(stages='all')``. By default it does not.

    Returns:
        The path of the new file.

    Raises:
        AlreadyEncryptedError: The configuration is protected already.
        WeakCipherError: The cipher has less than 80 key bits for images of as many channels as those of the
            configuration, and ``allow_weak`` is not set.
        MissingFileError: The source does not exist.
        OutputError: The target exists, or its folder does not.
        ConfigError: The configuration cannot be loaded or protected; the message says why.
        BlockAlignmentError: The block size does not fit the first convolution, for a block stem.

    Example:
        >>> protect_config('mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py', 'new.py')  # doctest: +SKIP
        PosixPath('new.py')
    """
    old = load_config(source)
    new = protected(old, cipher, key, block_stem, features)
    _build_keyed_parts(new)
    if is_new_style(source):
        return write_new(target, Config(new).pretty_text)
    base = _base_of(source, target)
    overrides = Config(_difference(old, new)).pretty_text
    return write_new(target, f'_base_ = {base!r}\n{overrides}')


def protected(
    cfg: Node,
    cipher: CipherConfig | None = DEFAULT_CIPHER,
    key: Any = None,
    block_stem: Mapping[str, Any] | None = None,
    features: Mapping[str, Any] | None = None,
) -> Node:
    """Return a protected copy of a configuration that is loaded already.

    Arguments and errors are those of :func:`~mmseg_keyprotect.config.protect_config`.
    """
    found = [protection.place for protection in find_protections(cfg)]
    if found := found + ['model.feature_encryption'] * bool(find_features(cfg)):
        raise AlreadyEncryptedError(
            f'Expected an unprotected configuration, but {found[0]} of this one encrypts already. '
            'Change the cipher there, or start from the unprotected configuration.'
        )
    if cipher is None and (features is None or block_stem is not None):
        raise ConfigError(
            'Expected something to encrypt, images or feature maps, and encrypted images for a block stem, but got '
            'no cipher. Give a cipher, or features without a block stem.'
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
    _import_package(cfg)
    cfg['custom_hooks'] = [*(cfg.get('custom_hooks') or []), dict(type=HOOK)]
    raise_problems(check_structure(cfg))
    return cfg


def _build_keyed_parts(cfg: Node) -> None:
    """Build a model that gets a block stem or encrypted feature maps, so that what cannot work is refused now.

    Only the backbone knows its strides and stages. Any key shows whether they fit.
    """
    if kind_of(find_model(cfg)) not in SEGMENTORS.values():
        return
    from mmseg.registry import MODELS  # not above: importing mmseg registers this package, which needs this module

    init_default_scope(cfg.get('default_scope') or 'mmseg')
    try:
        MODELS.build(model_with_key(cfg, SecretKey.generate()))
    except KeyProtectError:
        raise
    except Exception:  # another machine may have what this model needs besides
        return


def _import_package(cfg: Node) -> None:
    """Add this package to what the configuration imports."""
    own = cfg.get('custom_imports') or {}
    imports = own.get('imports') or []
    imports = [imports] if isinstance(imports, str) else list(imports)
    may_fail = own.get('allow_failed_imports', False)
    cfg['custom_imports'] = dict(imports=[*imports, _PACKAGE], allow_failed_imports=may_fail)


def _encrypt_images(cfg: Node, cipher: CipherConfig, keyed: Mapping[str, Any], stem: bool) -> None:
    """Make the preprocessor encrypt, and set crops, paddings and windows to whole blocks."""
    # any key shows whether the cipher is sound; a keyed cipher must be strong for RGB in any case
    built = build_cipher(cipher, SecretKey.generate(), min(image_channels(cfg), RGB))
    if stem:
        built.transform.signed_permutation()  # raises for a cipher that a block stem cannot absorb
    preprocessor = find_model(cfg).get('data_preprocessor') or {}
    if kind_of(preprocessor) != 'SegDataPreProcessor':
        raise ConfigError(
            'Expected a configuration whose model.data_preprocessor is a SegDataPreProcessor, but got '
            f'{kind_of(preprocessor) or "none"}. {PREPROCESSOR} can replace no other; put {TRANSFORM} into the '
            'pipelines instead.'
        )
    wrapped = dict(cfg, model=dict(module=find_model(cfg)))  # the model of test-time augmentation
    for _, holder, name in [*sizes_in(cfg), *sizes_in(wrapped)]:
        holder[name] = aligned(holder[name], built.block_size)
    scope = 'mmseg.' if '.' in str(preprocessor['type']) else ''  # the new style may have no default scope
    protection = dict(type=f'{scope}{PREPROCESSOR}', cipher=cipher, **keyed)
    preprocessor.update(protection)
    if cfg.get('data_preprocessor'):  # the preprocessor of test-time augmentation
        cfg['data_preprocessor'].update(protection)


def _set_segmentor(model: Node, wanted: str) -> None:
    """Make the model the segmentor of this package that extends its own."""
    kind = kind_of(model)
    if kind in SEGMENTORS.values():
        return
    if kind not in SEGMENTORS:
        raise ConfigError(
            f'Expected a segmentor that can have {wanted}, {" or ".join(SEGMENTORS)}, but got {kind}. Protect it '
            'without.'
        )
    model['type'] = f'mmseg.{SEGMENTORS[kind]}' if '.' in str(model['type']) else SEGMENTORS[kind]


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> Node:
    """Return what a configuration that inherits ``old`` must set to become ``new``.

    A dict holds only what differs in it; any other value is there as a whole.
    """
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
    """Return how the target names its base: ``mmseg::NAME`` for MMSegmentation's own, else a relative path."""
    file = config_file(source)
    if file.resolve().is_relative_to(mmseg_configs()):
        return f'{SCHEME}{file.resolve().relative_to(mmseg_configs()).as_posix()}'
    folder = Path(target).parent
    if Path(os.path.abspath(folder)) != folder.resolve():  # mmengine does not follow `..` through a link
        return file.resolve().as_posix()
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()
