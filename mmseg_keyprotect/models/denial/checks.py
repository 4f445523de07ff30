"""Checks of the options of denial, and of the models and images that it is used for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample

from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError


def checked_options(name: str, options: Any, known: set[str]) -> dict[str, Any]:
    """Return options as a dict.

    Args:
        name: Where the options are in ``model``, for the message.
        options: The options of a configuration.
        known: The names of the options that there are.

    Raises:
        ConfigError: ``options`` is no dict, or has an unknown option.
    """
    if not isinstance(options, Mapping) or set(options) - known:
        got = sorted(map(str, options)) if isinstance(options, Mapping) else repr(options)
        raise ConfigError(
            f'Expected `{name}` as a dict with some of {sorted(known)}, but got {got}. Set model.{name} to such a dict.'
        )
    return dict(options)


def checked_un_key(options: Any) -> dict[str, Any]:
    """Return the options ``lr`` and ``restart`` of ``denial.un_key``, with their defaults.

    Raises:
        ConfigError: An option is unknown, or out of its range.
    """
    found = dict(lr=0.01, restart=50) | checked_options('denial.un_key', options, {'lr', 'restart'})
    check_number('un_key.lr', found['lr'])
    if type(found['restart']) is not int or found['restart'] < 1:
        raise ConfigError(
            f'Expected denial.un_key.restart as a whole number from 1, but got {found["restart"]!r}. Use 50.'
        )
    return found


def check_number(name: str, value: Any, most: float = math.inf) -> None:
    """Raise ConfigError unless the option ``denial.<name>`` is a finite number above 0, at most ``most``."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value <= most or value == math.inf:
        limit = '' if most == math.inf else f' and at most {most:g}'
        raise ConfigError(f'Expected denial.{name} as a number above 0{limit}, but got {value!r}. Set such a number.')


def check_model(model: BaseSegmentor) -> None:
    """Raise ConfigError unless a segmentor can be trained with denial."""
    if getattr(model.data_preprocessor, 'keyed_cipher', None) is None and not hasattr(model, 'feature_encryption'):
        raise ConfigError(
            'Expected encrypted images or feature maps for `denial`, but got neither. Set data_preprocessor.type '
            'to KeyedSegDataPreProcessor, or set feature_encryption, or remove `denial`.'
        )
    if any(getattr(module, 'with_cp', False) for module in model.modules()):
        raise ConfigError(
            'Expected a model without checkpointed activations for `denial`, since they would be recomputed with the '
            'correct key, but got with_cp=True. Set it to False.'
        )
    if model.out_channels < model.num_classes:
        raise ConfigError(
            f'Expected an output for each of the {model.num_classes} classes for `denial`, but got '
            f'{model.out_channels}. Set decode_head.out_channels to the number of classes.'
        )


def check_plain(samples: Sequence[SegDataSample]) -> None:
    """Raise AlreadyEncryptedError where the pipeline has encrypted an image."""
    if any('key_id' in sample for sample in samples):
        raise AlreadyEncryptedError(
            'Expected plain images for `denial`, but the pipeline has encrypted them. Remove KeyedBlockEncrypt from '
            'the pipelines and set data_preprocessor.type to KeyedSegDataPreProcessor.'
        )
