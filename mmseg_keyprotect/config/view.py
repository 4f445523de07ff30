"""Load an MMSegmentation configuration, and find its pipelines and what protects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmseg_keyprotect.ciphers.build import DEFAULT_CIPHER
from mmseg_keyprotect.config_files import config_file
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.registered import PREPROCESSOR, PRIVATE_SIDE, TRANSFORM

META_KEYS = ('padding_size', 'key_id', 'cipher', 'encrypted_checksum')
"""The records that :class:`~mmseg_keyprotect.datasets.KeyedBlockEncrypt` adds to a sample. They belong to the encrypted
image, and leave the sample once :class:`~mmseg_keyprotect.models.KeyedSegDataPreProcessor` has taken that image.

``PackSegInputs`` drops what its ``meta_keys`` do not name, so these belong there.
"""

CIPHER_ARGUMENTS = ('cipher', 'key', 'key_id', 'channel_order', 'pad_mode')
"""The arguments of transform and preprocessor that configure the cipher."""

KEYED_ARGUMENTS = (*CIPHER_ARGUMENTS, 'label_pad_vals')
"""The arguments of :class:`~mmseg_keyprotect.models.KeyedSegDataPreProcessor` that MMSegmentation's does not have."""

_OWN = ('mmengine', 'mmcv', 'mmseg', 'mmseg_keyprotect')

Node = dict[str, Any]
"""A part of a configuration: a dict, or mmengine's ``ConfigDict``, which is one."""


@dataclass
class Protection:
    """One place of a configuration that encrypts images.

    Args:
        place: Its dotted path, for example ``train_dataloader.dataset.pipeline``.
        config: The configuration of the transform or the preprocessor.
    """

    place: str
    config: Node

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """The configurations of the single ciphers, in the order in which they encrypt."""
        cipher = self.config.get('cipher', DEFAULT_CIPHER)
        if isinstance(cipher, Mapping) and cipher.get('type') == 'Sequence':
            cipher = cipher.get('ciphers', [])
        return list(cipher) if isinstance(cipher, list | tuple) else [cipher]

    @property
    def cipher_arguments(self) -> Node:
        """The arguments for a :class:`~mmseg_keyprotect.ciphers.KeyedCipher`."""
        return {name: self.config[name] for name in CIPHER_ARGUMENTS if name in self.config}


def load_quietly(source: str | Path) -> Config:
    """Load a configuration file without logging.

    mmengine logs the environment variables that it substitutes, and the value of one may be a key.

    Args:
        source: The path, or ``mmseg::NAME`` for one of MMSegmentation's own.

    Raises:
        MissingFileError: There is no such file.
        ConfigError: mmengine cannot load it.
    """
    file = config_file(source)
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        return Config.fromfile(file)
    except Exception as error:  # a configuration is a program, and can raise anything
        line = (str(error).splitlines() or [''])[0].rstrip('.')
        raise ConfigError(
            f'Expected a configuration that MMSegmentation can load, but {source} raises {type(error).__name__}: '
            f'{line}. Install what it needs, or correct it.'
        ) from error
    finally:
        logger.disabled = before


def load_config(source: str | Path) -> Node:
    """Load a configuration file as a nested dict, as :func:`~mmseg_keyprotect.config.view.load_quietly` does."""
    cfg: Node = load_quietly(source).to_dict()
    return cfg


def is_new_style(source: str | Path) -> bool:
    """Tell whether a configuration file is of mmengine's new style, which imports what it names."""
    file = config_file(source)
    return file.suffix == '.py' and Config._is_lazy_import(str(file))


def kind_of(node: Any) -> str:
    """Return the type of a part of a configuration, as MMSegmentation's registries name it.

    A configuration may name a type by its word, with a scope, by its import path as mmengine's new style does, or as
    the class itself. A type of another package keeps its full name, since it may share only the last word.

    Args:
        node: A dict with a ``type``; anything else has the empty name.

    Example:
        >>> [kind_of(dict(type=name)) for name in ('Pad', 'mmseg.Pad', 'mmcv.transforms.Pad', 'mmdet.Pad')]
        ['Pad', 'Pad', 'Pad', 'mmdet.Pad']
    """
    kind = node.get('type') if isinstance(node, Mapping) else None
    name = f'{kind.__module__}.{kind.__qualname__}' if isinstance(kind, type) else str(kind or '')
    return name.rpartition('.')[2] if name.partition('.')[0] in _OWN else name


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every node of a nested configuration with its dotted path."""
    yield path, node
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from walk(child, f'{path}.{name}' if path else str(name))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from walk(child, f'{path}.{index}')


def find_pipelines(cfg: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Find the pipelines of a run or an inference: of every dataloader, ``test_pipeline`` and ``tta_pipeline``.

    Returns:
        The pipelines by their dotted paths. They are the lists of ``cfg`` themselves, not copies.
    """
    roots = {name: cfg[name] for name in cfg if name.endswith('_dataloader') and cfg[name]}
    found = {name: cfg[name] for name in ('test_pipeline', 'tta_pipeline') if cfg.get(name)}
    for path, node in walk(roots):
        if path.rpartition('.')[2] == 'pipeline' and isinstance(node, list):
            found[path] = node
    return found


def steps(pipeline: list[Any]) -> list[Node]:
    """Return the steps of a pipeline in order, with the first branch of every step of a ``TestTimeAug``."""
    flat = []
    for step in pipeline:
        if kind_of(step) == 'TestTimeAug':
            flat += [branch[0] for branch in step['transforms'] if branch]
        else:
            flat.append(step)
    return flat


def find_model(cfg: Mapping[str, Any]) -> Node:
    """Return the segmentor's configuration, also where test-time augmentation wraps it."""
    model: Node = cfg.get('model') or {}
    return model.get('module') or model


def find_preprocessor(cfg: Mapping[str, Any]) -> Node:
    """Return the configuration of the preprocessor that the model will have.

    A segmentor that test-time augmentation wraps gets the preprocessor at the top level of the configuration, if
    there is one: mmengine's Runner hands it to the wrapper, and the wrapper replaces the segmentor's own.
    """
    model: Node = cfg.get('model') or {}
    inner: Node = find_model(cfg).get('data_preprocessor') or {}
    outer: Node = model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}
    return outer or inner if 'module' in model else inner


def find_features(cfg: Mapping[str, Any]) -> Node:
    """Return the configuration of the encryption of feature maps, empty where there is none."""
    return find_model(cfg).get('feature_encryption') or {}


def encrypts(cfg: Config) -> bool:
    """Tell whether a configuration encrypts images or feature maps."""
    return bool(find_protections(cfg.to_dict()) or find_features(cfg))


def is_private_side(cfg: Mapping[str, Any]) -> bool:
    """Tell whether a configuration builds a :class:`~mmseg_keyprotect.models.PrivateSideSegmentor`."""
    return kind_of(find_model(cfg)) == PRIVATE_SIDE


def find_protections(cfg: Mapping[str, Any]) -> list[Protection]:
    """Find every place of a configuration that encrypts images."""
    found = []
    preprocessor = find_preprocessor(cfg)
    if kind_of(preprocessor) == PREPROCESSOR:
        found.append(Protection('model.data_preprocessor', preprocessor))
    for path, pipeline in find_pipelines(cfg).items():
        found += [Protection(path, step) for step in steps(pipeline) if kind_of(step) == TRANSFORM]
    return found
