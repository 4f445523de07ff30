"""Encryption must come once, after every step that changes the image, and on 8-bit images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmseg_keyprotect.config.checks.problems import Problems
from mmseg_keyprotect.config.datasets import find_chains
from mmseg_keyprotect.config.view import META_KEYS, find_model, find_preprocessor, find_protections, kind_of, walk
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError
from mmseg_keyprotect.registered import PREPROCESSOR, TRANSFORM

_LABELS = {'LoadAnnotations', 'LoadSealedAnnotations'}
_SCALING = ('Normalize', 'ToFloat')
"""Steps, of pipelines or of albumentations, that take an image out of the range 0 to 255 of 8-bit data."""

NO_BATCH_AUGMENTS = (
    'Expected no `batch_augments` in the data preprocessor, since it runs after the encryption and would resize or mix '
    'encrypted images, but got some. Augment in the pipeline, before the encryption, for example by RandomMosaic in a '
    'MultiImageMixDataset.'
)
"""The message where a preprocessor would change encrypted images."""


def check_order(cfg: Mapping[str, Any]) -> Problems:
    """Where pipelines encrypt, all steps of the images must be in their order and the records must be packed."""
    preprocessor = find_preprocessor(cfg)
    for chain in find_chains(cfg):
        path, kinds = chain.place, [kind_of(step) for step in chain.steps]
        if TRANSFORM not in kinds:
            continue
        yield from _check_steps(path, kinds)
        for step in chain.steps:
            missing = [name for name in META_KEYS if name not in step.get('meta_keys', ())]
            if kind_of(step) == 'PackSegInputs' and missing:
                error = AlreadyEncryptedError if kind_of(preprocessor) == PREPROCESSOR else ConfigError
                yield error(
                    f'Expected PackSegInputs in {path} to pack {missing}, since without them predictions are not cut '
                    'back and images may be encrypted twice, but it does not. Add them to its meta_keys.'
                )
        if not path.startswith('train_') and preprocessor.get('test_cfg') and kind_of(preprocessor) != PREPROCESSOR:
            yield ConfigError(
                f'Expected {PREPROCESSOR}, which adds up the padding of {path} and of data_preprocessor.test_cfg, but '
                f'got {kind_of(preprocessor) or "none"}. Use {PREPROCESSOR} with the same cipher.'
            )


def _check_steps(path: str, kinds: list[Any]) -> Problems:
    """Check the types of a pipeline's steps: encryption once, after geometry and colour, on one side of the labels."""
    if kinds.count(TRANSFORM) > 1:
        yield AlreadyEncryptedError(
            f'Expected {TRANSFORM} once in {path}, but found it {kinds.count(TRANSFORM)} times. Keep one.'
        )
    after = kinds[kinds.index(TRANSFORM) + 1 :]
    training = path.startswith('train_')
    late = [kind for kind in after if kind not in (TRANSFORM, 'PackSegInputs', *_LABELS, *_SCALING)]
    if late:
        yield ConfigError(
            f'Expected {TRANSFORM} as the last step before PackSegInputs in {path}, but {late} come after it and '
            'would change an encrypted image. Move them before it.'
        )
    if training and _LABELS & set(after):
        yield ConfigError(
            f'Expected {TRANSFORM} after LoadAnnotations in {path}, so that labels are padded with the image, but it '
            'comes before. Move it.'
        )
    if not training and _LABELS & set(kinds) and not _LABELS & set(after):
        yield ConfigError(
            f'Expected {TRANSFORM} before LoadAnnotations in {path}, so that labels keep their original size, but it '
            'comes after. Move it.'
        )


def check_range(cfg: Mapping[str, Any]) -> Problems:
    """No pipeline may normalise: encryption takes 8-bit images, and the preprocessor normalises after it."""
    in_preprocessor = kind_of(find_preprocessor(cfg)) == PREPROCESSOR
    for chain in find_chains(cfg):
        if not in_preprocessor and TRANSFORM not in map(kind_of, chain.steps):
            continue
        for kind in dict.fromkeys(kind_of(node).rpartition('.')[2] for _, node in walk(chain.steps)):
            if kind in _SCALING:
                yield ConfigError(
                    f'Expected 8-bit images in {chain.place}, but got the step {kind}, which changes their range. '
                    'Take it out, and set mean and std of the data preprocessor, which normalises after the '
                    'encryption.'
                )


def check_batch_augments(cfg: Mapping[str, Any]) -> Problems:
    """The preprocessor may not augment batches, since it does so after the encryption."""
    if find_protections(cfg) and find_preprocessor(cfg).get('batch_augments'):
        yield ConfigError(NO_BATCH_AUGMENTS)


def check_flips(cfg: Mapping[str, Any]) -> Problems:
    """No window may be flipped after its encryption, as MMSegmentation's depth estimators can do."""
    mode = (find_model(cfg).get('test_cfg') or {}).get('mode')
    if mode == 'slide_flip':
        yield ConfigError(
            "Expected model.test_cfg.mode to be 'whole' or 'slide', but got 'slide_flip', which flips windows after "
            "their encryption. Set it to 'whole' or 'slide'; flips in the tta_pipeline come before the encryption."
        )
