"""Changing a loaded configuration: its data, its key, and whether it encrypts."""

from __future__ import annotations

import copy

from mmengine.config import Config

from mmseg_keyprotect.config.view import (
    CIPHER_ARGUMENTS,
    PREPROCESSOR,
    TRANSFORM,
    find_features,
    find_model,
    find_pipelines,
    find_protections,
    walk,
)
from mmseg_keyprotect.errors import ConfigError


def set_data_root(cfg: Config, root: str) -> None:
    """Let every dataset of a configuration read from the folder ``root``."""
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        if cfg.get(name):
            cfg[name].dataset.data_root = root


def set_key_file(cfg: Config, path: str) -> None:
    """Let every encryption of a configuration take its key from the file ``path``."""
    for protection in find_protections(cfg):
        protection.config['key'] = dict(type='KeyFile', path=path)
    if features := find_features(cfg):
        features['key'] = dict(type='KeyFile', path=path)


def unprotected(cfg: Config) -> Config:
    """Return the configuration of the plain model; pipelines keep the sizes that whole blocks asked for."""
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    for pipeline in find_pipelines(cfg).values():
        _take_away_encryption(pipeline)
    model = find_model(cfg)
    model.type = model.type.removeprefix('Keyed')
    for name in ('block_stem', 'feature_encryption', 'denial'):
        model.pop(name, None)
    preprocessor = model.data_preprocessor
    preprocessor.type = 'SegDataPreProcessor'
    for name in CIPHER_ARGUMENTS:
        preprocessor.pop(name, None)
    for _, node in walk(model.backbone):
        if isinstance(node, dict) and node.get('type') == 'KeyedPretrained':
            node['type'] = 'Pretrained'
    return cfg


def to_preprocessor_form(cfg: Config) -> None:
    """Move the encryption of images of a protected configuration into the preprocessor: the model gets the same input.

    Raises:
        ConfigError: The configuration is not protected.
    """
    protections = find_protections(cfg.to_dict())
    if not protections:
        if find_features(cfg):
            return
        raise ConfigError(
            'Expected a protected configuration, but this one encrypts nowhere. '
            'Protect it first: python tools/protect_config.py CONFIG -o PROTECTED.py'
        )
    for pipeline in find_pipelines(cfg).values():
        _take_away_encryption(pipeline)
    find_model(cfg).data_preprocessor.update(type=PREPROCESSOR, **protections[0].cipher_arguments)


def _take_away_encryption(pipeline: list) -> None:
    pipeline[:] = [step for step in pipeline if step.get('type') != TRANSFORM]
    for step in pipeline:
        if step.get('type') == 'TestTimeAug':
            step.transforms = [branch for branch in step.transforms if branch[0].get('type') != TRANSFORM]
