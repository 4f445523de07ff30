"""Find how many channels the images of a configuration have, on which the strength of a cipher depends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmseg_keyprotect.config.view import find_model, find_pipelines, find_preprocessor, steps

RGB = 3


def image_channels(cfg: Mapping[str, Any]) -> int:
    """Return the number of channels of the images that a configuration encrypts.

    A pipeline that loads greyscale images decides, since MMSegmentation spreads one channel over a ``mean`` of three
    after the encryption. Otherwise it is what the backbone takes, or else what ``mean`` has.

    Args:
        cfg: The configuration, as a nested dict.

    Example:
        >>> image_channels(dict(model=dict(backbone=dict(type='ResNetV1c', in_channels=6))))
        6
        >>> load = dict(type='LoadImageFromFile', color_type='grayscale')
        >>> image_channels(dict(test_pipeline=[load, dict(type='PackSegInputs')]))
        1
    """
    for pipeline in find_pipelines(cfg).values():
        if any(str(step.get('color_type', '')).startswith('grayscale') for step in steps(pipeline)):
            return 1
    taken = (find_model(cfg).get('backbone') or {}).get('in_channels')
    if isinstance(taken, int):
        return taken
    mean = find_preprocessor(cfg).get('mean')
    return len(mean) if mean else RGB
