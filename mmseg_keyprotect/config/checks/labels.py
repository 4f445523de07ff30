"""Label maps are extended to whole blocks by a value that every head must ignore."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmseg_keyprotect.config.checks.problems import Problems
from mmseg_keyprotect.config.view import find_model, find_protections
from mmseg_keyprotect.errors import ConfigError

IGNORED = 255
"""The default of ``ignore_index`` of MMSegmentation's heads, and of ``seg_pad_val``."""


def check_labels(cfg: Mapping[str, Any]) -> Problems:
    """The value that pads segmentation maps must be the ``ignore_index`` of every head."""
    model = find_model(cfg)
    for name in ('decode_head', 'auxiliary_head'):
        heads = model.get(name) or []
        for head in [heads] if isinstance(heads, Mapping) else heads:
            ignored = head.get('ignore_index', IGNORED)
            if ignored is None:  # as of SAN's head
                continue
            for protection in find_protections(cfg):
                padded = protection.config.get('seg_pad_val', IGNORED)
                if padded != ignored:
                    yield wrong_padding(f'model.{name}', ignored, protection.place, padded)


def wrong_padding(head: str, ignored: Any, place: str, padded: Any) -> ConfigError:
    """Return the error for a head that would learn from the pixels that extend an image to whole blocks."""
    return ConfigError(
        f'Expected seg_pad_val of {place}, which extends labels to whole blocks, to be ignore_index of {head}, '
        f'{ignored}, but got {padded}. Set {place}.seg_pad_val = {ignored}.'
    )
