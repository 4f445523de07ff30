"""Loading an MMSegmentation configuration, and finding its pipelines and what protects it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmseg_keyprotect.ciphers.build import DEFAULT_CIPHER
from mmseg_keyprotect.errors import ConfigError

TRANSFORM = 'KeyedBlockEncrypt'
PREPROCESSOR = 'KeyedSegDataPreProcessor'
META_KEYS = ('padding_size', 'key_id', 'cipher')
"""What the transform records, and PackSegInputs must carry on: add it to its ``meta_keys``."""

CIPHER_ARGUMENTS = ('cipher', 'key', 'key_id', 'channel_order', 'pad_mode')


@dataclass
class Protection:
    """One place of a configuration that encrypts.

    Args:
        place: For example ``train_dataloader.dataset.pipeline``.
        config: The configuration of the transform or the preprocessor.
    """

    place: str
    config: Mapping[str, Any]

    @property
    def parts(self) -> list[Mapping[str, Any]]:
        """The configurations of the single ciphers, in order."""
        cipher = self.config.get('cipher', DEFAULT_CIPHER)
        if isinstance(cipher, Mapping) and cipher.get('type') == 'Sequence':
            cipher = cipher.get('ciphers', [])
        return list(cipher) if isinstance(cipher, list | tuple) else [cipher]

    @property
    def cipher_arguments(self) -> dict[str, Any]:
        """The arguments for a KeyedCipher."""
        return {name: self.config[name] for name in CIPHER_ARGUMENTS if name in self.config}


def load_quietly(file: str | Path) -> Config:
    """Load a configuration without a word: mmengine logs the variables that it substitutes, and one may be a key."""
    logger = MMLogger.get_current_instance()
    before, logger.disabled = logger.disabled, True
    try:
        return Config.fromfile(file)
    finally:
        logger.disabled = before


def load_config(source: str | Path) -> dict[str, Any]:
    """Load a configuration file, or ``mmseg::…``.

    Raises:
        ConfigError: It does not exist or cannot be loaded.
    """
    file = file_of(source)
    try:
        return load_quietly(file).to_dict()
    except Exception as error:  # whatever stands in the file
        line = (str(error).splitlines() or [''])[0]
        raise ConfigError(
            f'Expected a configuration that MMSegmentation can load, but {source} gives {type(error).__name__}: {line} '
            'Install what it needs, or mend it.'
        ) from error


def mmseg_configs() -> Path:
    """Return the folder of MMSegmentation's own configurations."""
    return Path(import_module('mmseg').__file__).resolve().parent / '.mim' / 'configs'


def file_of(source: str | Path) -> Path:
    """Return the path of a configuration file, or of ``mmseg::…``.

    Raises:
        ConfigError: There is none.
    """
    text = str(source)
    path = mmseg_configs() / text.removeprefix('mmseg::') if text.startswith('mmseg::') else Path(text)
    if not path.is_file():
        raise ConfigError(f'Expected a configuration file, but {text} does not exist. Check the path.')
    return path


def walk(node: Any, path: str = '') -> Iterator[tuple[str, Any]]:
    """Yield every node of a nested configuration with its dotted path."""
    yield path, node
    if isinstance(node, Mapping):
        for name, child in node.items():
            yield from walk(child, f'{path}.{name}' if path else str(name))
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from walk(child, f'{path}.{index}')


def find_pipelines(cfg: Mapping[str, Any]) -> dict[str, list]:
    """Find the pipelines that a run or an inference uses: of every dataloader, ``test_pipeline``, ``tta_pipeline``.

    Returns:
        Their dotted paths and themselves, the very lists of ``cfg``.
    """
    roots = {name: cfg[name] for name in cfg if name.endswith('_dataloader') and cfg[name]}
    found = {name: cfg[name] for name in ('test_pipeline', 'tta_pipeline') if cfg.get(name)}
    for path, node in walk(roots):
        if path.rpartition('.')[2] == 'pipeline' and isinstance(node, list):
            found[path] = node
    return found


def steps(pipeline: list) -> list[Mapping[str, Any]]:
    """Return the steps of a pipeline in order; of the branches of a TestTimeAug the first."""
    flat = []
    for step in pipeline:
        if isinstance(step, Mapping) and step.get('type') == 'TestTimeAug':
            flat += [branch[0] for branch in step['transforms'] if branch]
        else:
            flat.append(step)
    return flat


def find_model(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the segmentor's configuration, also where it is wrapped for test-time augmentation."""
    model = cfg.get('model') or {}
    return model.get('module') or model


def find_preprocessor(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the preprocessor that the model will have.

    A segmentor that is wrapped for test-time augmentation gets the one at the top level of the configuration, where
    there is one: mmengine's Runner hands it to the wrapper, which puts it in the place of the segmentor's own.
    """
    model = cfg.get('model') or {}
    if 'module' in model and (outer := model.get('data_preprocessor') or cfg.get('data_preprocessor')):
        return outer
    return find_model(cfg).get('data_preprocessor') or {}


def find_features(cfg: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration of the encryption of feature maps, empty where there is none."""
    return find_model(cfg).get('feature_encryption') or {}


def find_protections(cfg: Mapping[str, Any]) -> list[Protection]:
    """Find every place of a configuration that encrypts images."""
    found = []
    preprocessor = find_preprocessor(cfg)
    if preprocessor.get('type') == PREPROCESSOR:
        found.append(Protection('model.data_preprocessor', preprocessor))
    for path, pipeline in find_pipelines(cfg).items():
        found += [Protection(path, step) for step in steps(pipeline) if step.get('type') == TRANSFORM]
    return found
