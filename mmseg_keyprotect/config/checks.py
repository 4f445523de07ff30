"""Everything that can be wrong with a protected configuration, found before anything runs.

Each check is one function that yields errors; a new check is one function and one name in ``CHECKS``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.ciphers.blocks import round_to_blocks
from mmseg_keyprotect.config.view import (
    META_KEYS,
    PREPROCESSOR,
    TRANSFORM,
    find_features,
    find_model,
    find_pipelines,
    find_preprocessor,
    find_protections,
    steps,
    walk,
)
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    BlockAlignmentError,
    ConfigError,
    KeyProtectError,
    LeakedKeyError,
)
from mmseg_keyprotect.keys.line import KEY_LINE

Problems = Iterator[KeyProtectError]


def check_config(cfg: Config | Mapping[str, Any]) -> list[KeyProtectError]:
    """Find every problem of a protected configuration.

    Args:
        cfg: An mmengine Config, or a nested dict.

    Returns:
        One error for each problem; empty where the configuration is sound.
    """
    problems = check_structure(cfg)
    return problems + list(check_key(cfg.to_dict() if isinstance(cfg, Config) else cfg))


def check_structure(cfg: Config | Mapping[str, Any]) -> list[KeyProtectError]:
    """Find every problem but those of the key, which need not be at hand."""
    variables = cfg.env_variables if isinstance(cfg, Config) else {}
    cfg = cfg.to_dict() if isinstance(cfg, Config) else cfg
    leaks = list(check_leaks(cfg, variables))
    return leaks + [problem for check in CHECKS for problem in check(cfg)]


def raise_problems(problems: list[KeyProtectError]) -> None:
    """Raise a single problem as it is, and several as one ConfigError that lists them all."""
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = [f'  {n}. {type(problem).__name__}: {problem}' for n, problem in enumerate(problems, 1)]
        message = f'Expected a sound configuration, but found {len(problems)} problems:'
        raise ConfigError('\n'.join([message, *lines]), tuple(problems))


def refuse_leaks(words: Sequence[str]) -> None:
    """Raise LeakedKeyError if a command line holds a key."""
    raise_problems(list(check_leaks({'the command line': list(words)}, {})))


def aligned(value: Any, block_size: int) -> Any:
    """Return a size, or sizes, rounded to the nearest whole number of blocks."""
    if isinstance(value, int):
        return round_to_blocks(value, block_size)
    return type(value)(round_to_blocks(side, block_size) for side in value)


def sizes_in(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the (path, holder, name) of every size that must be a whole number of blocks."""
    model = find_model(cfg)
    test_cfg = model.get('test_cfg') or {}
    if test_cfg.get('mode') == 'slide':
        yield from (('model.test_cfg', test_cfg, name) for name in ('crop_size', 'stride'))
    preprocessor = find_preprocessor(cfg)
    padding = preprocessor.get('test_cfg') or {}
    places = [('model.data_preprocessor', preprocessor, 'size')]
    places.append(('model.data_preprocessor.test_cfg', padding, 'size'))
    if test_cfg.get('mode') == 'slide':  # the last window stands at the edge of the padded image
        places.append(('model.data_preprocessor.test_cfg', padding, 'size_divisor'))
    for path, pipeline in find_pipelines(cfg).items():
        for inner, node in walk(pipeline, path):
            if isinstance(node, Mapping) and node.get('type') == 'RandomCrop':
                places.append((inner, node, 'crop_size'))
    yield from ((path, holder, name) for path, holder, name in places if holder.get(name) is not None)


def _block_sizes(cfg: Mapping[str, Any]) -> set[int]:
    parts = [part for protection in find_protections(cfg) for part in protection.parts]
    return {part['block_size'] for part in parts if isinstance(part, Mapping) and 'block_size' in part}


def check_sizes(cfg: Mapping[str, Any]) -> Problems:
    """Slide windows, crops and padding are whole blocks, else blocks and windows run out of step."""
    for block_size in sorted(size for size in _block_sizes(cfg) if isinstance(size, int) and size > 0):
        for path, holder, name in sizes_in(cfg):
            value = holder[name]
            if aligned(value, block_size) != value:
                yield BlockAlignmentError(
                    f'Expected {path}.{name} to be a multiple of the block size {block_size}, but got {value}. '
                    f'Set it to {aligned(value, block_size)}, the nearest that fits.'
                )


def check_protected(cfg: Mapping[str, Any]) -> Problems:
    """The same cipher protects training, validation, testing and inference, or the preprocessor protects all."""
    protections = find_protections(cfg)
    inner = find_model(cfg).get('data_preprocessor') or {}
    if not protections and inner.get('type') == PREPROCESSOR:
        yield ConfigError(
            f'Expected {PREPROCESSOR} at the top level of the configuration too, since mmengine gives that one to a '
            'model with test-time augmentation, but got an unprotected one. Write data_preprocessor = dict(type='
            f"'{PREPROCESSOR}', cipher=...) and model = dict(data_preprocessor=data_preprocessor)."
        )
    elif not protections and not find_features(cfg):
        yield ConfigError(
            f'Expected a model protected by {PREPROCESSOR} or pipelines protected by {TRANSFORM}, but found neither. '
            f'Set model.data_preprocessor.type to {PREPROCESSOR}, or take KeyGuardHook out of custom_hooks.'
        )
    if not protections:
        return
    first = protections[0]
    for other in protections[1:]:
        if [dict(part) for part in other.parts] != [dict(part) for part in first.parts]:
            yield ConfigError(
                f'Expected one cipher everywhere, but {first.place} has {_describe(first.parts)} and {other.place} has '
                f'{_describe(other.parts)}. Give both the same.'
            )
    if first.place != 'model.data_preprocessor':
        for path in sorted(set(find_pipelines(cfg)) - {protection.place for protection in protections}):
            yield ConfigError(
                f'Expected {TRANSFORM} in every pipeline, since {first.place} has it, but {path} has none. '
                'Add the same step there.'
            )


def check_order(cfg: Mapping[str, Any]) -> Problems:
    """Encryption comes once, after geometry and colour; labels keep their size in testing; records are packed."""
    preprocessor = find_preprocessor(cfg)
    for path, pipeline in find_pipelines(cfg).items():
        kinds = [step.get('type') for step in steps(pipeline)]
        if TRANSFORM not in kinds:
            continue
        if kinds.count(TRANSFORM) > 1:
            yield AlreadyEncryptedError(
                f'Expected {TRANSFORM} once in {path}, but found it {kinds.count(TRANSFORM)} times.'
            )
        after = kinds[kinds.index(TRANSFORM) + 1 :]
        training = path.startswith('train_')
        late = [kind for kind in after if kind not in (TRANSFORM, 'PackSegInputs', 'LoadAnnotations')]
        if late:
            yield ConfigError(
                f'Expected {TRANSFORM} as the last step before PackSegInputs in {path}, but {late} come after it and '
                'would change an encrypted image. Move them before it.'
            )
        if training and 'LoadAnnotations' in after:
            yield ConfigError(
                f'Expected {TRANSFORM} after LoadAnnotations in {path}, so that labels are extended with the image. '
                'Move it.'
            )
        if not training and 'LoadAnnotations' in kinds and 'LoadAnnotations' not in after:
            yield ConfigError(
                f'Expected {TRANSFORM} before LoadAnnotations in {path}, so that labels keep their original size. '
                'Move it.'
            )
        for step in steps(pipeline):
            missing = [name for name in META_KEYS if name not in step.get('meta_keys', ())]
            if step.get('type') == 'PackSegInputs' and missing:
                error = AlreadyEncryptedError if preprocessor.get('type') == PREPROCESSOR else ConfigError
                yield error(
                    f'Expected PackSegInputs in {path} to carry {missing} on, without which predictions are not cut '
                    f'back and images may be encrypted twice. Add them to its meta_keys.'
                )
        if not training and preprocessor.get('test_cfg') and preprocessor.get('type') != PREPROCESSOR:
            yield ConfigError(
                f'Expected {PREPROCESSOR}, which adds up the padding of {path} and of data_preprocessor.test_cfg, but '
                f'got {preprocessor.get("type")}. Use {PREPROCESSOR} with the same cipher.'
            )


def check_flips(cfg: Mapping[str, Any]) -> Problems:
    """No window is flipped after it was encrypted: mmseg's depth estimators can do that."""
    mode = (find_model(cfg).get('test_cfg') or {}).get('mode')
    if mode == 'slide_flip':
        yield ConfigError(
            "Expected model.test_cfg.mode to be 'whole' or 'slide', but got 'slide_flip', which flips windows that are "
            "encrypted already. Set it to 'whole' or 'slide'; flips in the tta_pipeline come before the encryption."
        )


def check_stem(cfg: Mapping[str, Any]) -> Problems:
    """Pretrained weights find the block stem and the key that they need, and pipelines its block size."""
    model = find_model(cfg)
    backbone = model.get('backbone') or {}
    init = backbone.get('init_cfg') or []
    kinds = [part.get('type') for part in ([init] if isinstance(init, Mapping) else init)]
    if not str(model.get('type')).startswith('Keyed'):
        if 'KeyedPretrained' in kinds:
            yield ConfigError(
                f'Expected a model with a block stem for KeyedPretrained, but got {model.get("type")}. Set model.type '
                'to KeyedEncoderDecoder.'
            )
        return
    sizes = _block_sizes(cfg)
    if find_features(cfg) and model.get('block_stem') is None:
        return
    if find_preprocessor(cfg).get('type') == PREPROCESSOR or not sizes:
        return
    found = (model.get('block_stem') or {}).get('block_size')
    if found not in sizes:
        yield BlockAlignmentError(
            f'Expected model.block_stem.block_size to be that of the pipelines, {sorted(sizes)}, but got {found}. '
            'Give both the same.'
        )
    if model.get('pretrained') or backbone.get('pretrained') or {'Pretrained', 'KeyedPretrained'} & set(kinds):
        yield ConfigError(
            f'Expected {PREPROCESSOR}, which gives the block stem the key to absorb into pretrained weights, but got '
            f'{find_preprocessor(cfg).get("type")} behind {TRANSFORM}. Encrypt in the preprocessor, or start from a '
            'protected checkpoint with load_from and without pretrained weights.'
        )


def check_leaks(cfg: Mapping[str, Any], variables: Mapping[str, str]) -> Problems:
    """No key stands in the configuration, and none was put there from an environment variable."""
    leaked = [name for name, value in variables.items() if KEY_LINE.search(str(value))]
    for name in leaked:
        yield LeakedKeyError(
            f'Expected no key in the configuration, but {{{{${name}}}}} has put one there. The configuration is '
            'written to logs, work_dir and checkpoints: treat this key as exposed, delete those files and make a new '
            f"key. Then name the variable instead: key=dict(type='EnvKey', name='{name}')."
        )
    for path, node in walk(cfg):
        if not leaked and isinstance(node, str) and KEY_LINE.search(node):
            yield LeakedKeyError(
                f'Expected no key in the configuration, but {path or "it"} holds one. The configuration is written to '
                'logs, work_dir and checkpoints: treat this key as exposed, delete those files and make a new key. '
                "Then give a path: key=dict(type='KeyFile', path='my.key')."
            )


def check_key(cfg: Mapping[str, Any]) -> Problems:
    """The key can be loaded, is the same everywhere, and fits the cipher."""
    found: dict[str, str] = {}
    for protection in find_protections(cfg):
        try:
            found.setdefault(KeyedCipher(**protection.cipher_arguments).key_id, protection.place)
        except KeyProtectError as error:
            yield error
            return
    if len(found) > 1:
        places = ', '.join(f'{key_id} in {place}' for key_id, place in found.items())
        yield ConfigError(f'Expected one key everywhere, but got {places}. Give all the same key.')


def _describe(parts: list[Mapping[str, Any]]) -> str:
    return ' + '.join(f'{part.get("type")}(block_size={part.get("block_size")})' for part in parts)


CHECKS = (check_protected, check_sizes, check_order, check_flips, check_stem)
