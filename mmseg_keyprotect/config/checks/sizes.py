"""Sizes that must be whole blocks: crops, padding and slide windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmseg_keyprotect.ciphers.blocks import round_to_blocks
from mmseg_keyprotect.config.checks.problems import Problems
from mmseg_keyprotect.config.view import (
    Node,
    find_model,
    find_pipelines,
    find_preprocessor,
    find_protections,
    kind_of,
    walk,
)
from mmseg_keyprotect.errors import BlockAlignmentError


def check_sizes(cfg: Mapping[str, Any]) -> Problems:
    """Slide windows, crops and padding must be whole blocks, or windows would cut through blocks."""
    for block_size in sorted(size for size in block_sizes(cfg) if isinstance(size, int) and size > 0):
        for path, holder, name in sizes_in(cfg):
            value = holder[name]
            if aligned(value, block_size) != value:
                yield BlockAlignmentError(
                    f'Expected {path}.{name} to be a multiple of the block size {block_size}, but got {value}. '
                    f'Set it to {aligned(value, block_size)}, the nearest that fits.'
                )


def aligned(value: Any, block_size: int) -> Any:
    """Round a size in pixels, or a sequence of sizes, to the nearest whole number of blocks."""
    if isinstance(value, int):
        return round_to_blocks(value, block_size)
    return type(value)(round_to_blocks(side, block_size) for side in value)


def sizes_in(cfg: Mapping[str, Any]) -> Iterator[tuple[str, Node, str]]:
    """Yield every size that must be a whole number of blocks.

    Yields:
        The dotted path of the dict that holds the size, the dict itself, and the name of the size in it.
    """
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
            if kind_of(node) == 'RandomCrop':
                places.append((inner, node, 'crop_size'))
    yield from ((path, holder, name) for path, holder, name in places if holder.get(name) is not None)


def block_sizes(cfg: Mapping[str, Any]) -> set[Any]:
    """Return the block sizes of all ciphers, as they are written: one need not be a number."""
    parts = [part for protection in find_protections(cfg) for part in protection.parts]
    return {part['block_size'] for part in parts if isinstance(part, Mapping) and 'block_size' in part}
