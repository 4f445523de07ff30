"""Change a loaded configuration: its data, its key, and whether it encrypts."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.config.datasets import find_datasets
from mmseg_keyprotect.config.view import (
    KEYED_ARGUMENTS,
    find_features,
    find_model,
    find_pipelines,
    find_protections,
    kind_of,
    walk,
)
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.registered import PREPROCESSOR, PRETRAINED, SEGMENTORS, TRANSFORM

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def override(cfg: Config, options: Mapping[str, Any]) -> None:
    """Override settings of a configuration, in place.

    Args:
        cfg: The configuration.
        options: The new values by their dotted paths, as ``--cfg-options`` names them.

    Raises:
        ConfigError: A path leads through something that is neither a dict nor an index of a list.
    """
    for path, value in options.items():
        try:
            cfg.merge_from_dict({path: value})
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ConfigError(
                f'Expected --cfg-options that fit the configuration, but {path} does not: {error}. Correct the path.'
            ) from None


def set_data_root(cfg: Config, root: str, loaders: Sequence[str] = LOADERS) -> None:
    """Make every data set of a configuration read from the folder ``root``, also inside of wrappers.

    Args:
        cfg: The configuration, which is changed.
        root: The folder.
        loaders: The names of the data loaders to change.

    Raises:
        ConfigError: A wrapper joins data sets of several folders.
    """
    for name in loaders:
        if not cfg.get(name):
            continue
        found = find_datasets(cfg[name].dataset)
        folders = {str(dataset.get('data_root')) for dataset in found}
        if len(folders) > 1:
            raise ConfigError(
                f'Expected the data sets of {name} in one folder, to replace it, but got {", ".join(sorted(folders))}. '
                'Set the data_root of each by --cfg-options, or in the configuration.'
            )
        for dataset in found:
            dataset['data_root'] = root


def set_key_file(cfg: Config, path: str) -> None:
    """Make every encryption of a configuration take its key from the file ``path``."""
    for protection in find_protections(cfg):
        protection.config['key'] = dict(type='KeyFile', path=path)
    if features := find_features(cfg):
        features['key'] = dict(type='KeyFile', path=path)


def model_with_key(cfg: Mapping[str, Any], key: Any = None) -> Any:
    """Return the configuration of the model alone, ready to be built; ``cfg`` stays as it is.

    Args:
        cfg: The whole configuration.
        key: The configuration of a key that replaces the one in ``cfg``. By default the model keeps its own.
    """
    model = Config(dict(model=copy.deepcopy(find_model(cfg)))).model
    if key is not None:
        if kind_of(model.data_preprocessor) == PREPROCESSOR:
            model.data_preprocessor.update(key=key)
        if model.get('feature_encryption') is not None:
            model.feature_encryption.update(key=key)
    return model


def unprotected(cfg: Config) -> Config:
    """Return a copy of a protected configuration that builds the plain model.

    Crops and windows keep their sizes, which are whole blocks.
    """
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    for pipeline in find_pipelines(cfg).values():
        _remove_encryption(pipeline)
    model = find_model(cfg)
    plain_types = {keyed: plain for plain, keyed in SEGMENTORS.items()}
    model['type'] = plain_types.get(kind_of(model), model['type'])
    for name in ('block_stem', 'feature_encryption', 'denial'):
        model.pop(name, None)
    preprocessor = model['data_preprocessor']
    preprocessor['type'] = 'SegDataPreProcessor'
    for name in KEYED_ARGUMENTS:
        preprocessor.pop(name, None)
    for _, node in walk(model['backbone']):
        if kind_of(node) == PRETRAINED:
            node['type'] = 'Pretrained'
    return cfg


def to_preprocessor_form(cfg: Config) -> None:
    """Move the encryption of images from the pipelines into the preprocessor.

    The model gets the same input. A configuration that encrypts feature maps alone stays as it is.

    Raises:
        ConfigError: The configuration is not protected.
    """
    protections = find_protections(cfg.to_dict())
    if not protections:
        if find_features(cfg):
            return
        raise ConfigError(
            'Expected a protected configuration, but this one encrypts nowhere. '
            'Protect it first: keyprotect protect CONFIG -o PROTECTED.py'
        )
    for pipeline in find_pipelines(cfg).values():
        _remove_encryption(pipeline)
    find_model(cfg)['data_preprocessor'].update(type=PREPROCESSOR, **protections[0].cipher_arguments)


def _remove_encryption(pipeline: list[Any]) -> None:
    """Remove the encryption from a pipeline in place, also from within a ``TestTimeAug``."""
    pipeline[:] = [step for step in pipeline if kind_of(step) != TRANSFORM]
    for step in pipeline:
        if kind_of(step) == 'TestTimeAug':
            step['transforms'] = [branch for branch in step['transforms'] if kind_of(branch[0]) != TRANSFORM]
