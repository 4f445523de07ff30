"""Tell whether the images of a data set have labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmseg_keyprotect.shards.data_set import sealed_data_set_of

LABEL_LOADERS = ('LoadAnnotations', 'LoadBiomedicalAnnotation', 'LoadDepthAnnotation', 'LoadSealedAnnotations')
"""The steps of a pipeline that read labels."""


def has_label(info: Mapping[str, Any]) -> bool:
    """Tell whether an image has a label map. A remote path, and one into a sealed data set, is taken on trust.

    Args:
        info: What ``get_data_info`` of a data set returns.

    Example:
        >>> has_label(dict(img_path='a.jpg')), has_label(dict(seg_map_path='s3://bucket/a.png'))
        (False, True)
    """
    path = info.get('seg_map_path')
    return path is not None and ('://' in path or Path(path).exists() or sealed_data_set_of(path) is not None)
