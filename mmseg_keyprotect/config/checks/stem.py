"""Pretrained weights must find the block stem and the key that they need."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmseg_keyprotect.config.checks.problems import Problems
from mmseg_keyprotect.config.checks.sizes import block_sizes
from mmseg_keyprotect.config.view import find_features, find_model, find_preprocessor, kind_of
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError
from mmseg_keyprotect.registered import PREPROCESSOR, PRETRAINED, SEGMENTORS, TRANSFORM


def check_stem(cfg: Mapping[str, Any]) -> Problems:
    """A block stem must have the block size of the pipelines, and pretrained weights must have a key to absorb."""
    model = find_model(cfg)
    backbone = model.get('backbone') or {}
    init = backbone.get('init_cfg') or []
    kinds = [kind_of(part) for part in ([init] if isinstance(init, Mapping) else init)]
    if kind_of(model) not in SEGMENTORS.values():
        if PRETRAINED in kinds:
            yield ConfigError(
                f'Expected a model with a block stem for {PRETRAINED}, but got {kind_of(model) or "none"}. Set '
                f'model.type to {SEGMENTORS["EncoderDecoder"]}.'
            )
        return
    sizes = block_sizes(cfg)
    stemless = find_features(cfg) and model.get('block_stem') is None
    if stemless or kind_of(find_preprocessor(cfg)) == PREPROCESSOR or not sizes:
        return
    found = (model.get('block_stem') or {}).get('block_size')
    if found not in sizes:
        yield BlockAlignmentError(
            f'Expected model.block_stem.block_size to be that of the pipelines, {sorted(sizes)}, but got {found}. '
            'Give both the same.'
        )
    if model.get('pretrained') or backbone.get('pretrained') or {'Pretrained', PRETRAINED} & set(kinds):
        yield ConfigError(
            f'Expected {PREPROCESSOR}, which gives the block stem the key that pretrained weights absorb, but got '
            f'{kind_of(find_preprocessor(cfg)) or "none"} with {TRANSFORM} in the pipelines. Encrypt in the '
            'preprocessor, or start from a protected checkpoint with load_from and without pretrained weights.'
        )
