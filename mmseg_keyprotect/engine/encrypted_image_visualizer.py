"""The visualizer for a machine that has encrypted images alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
from mmengine.dist import master_only
from mmseg.registry import VISUALIZERS
from mmseg.structures import SegDataSample
from mmseg.visualization import SegLocalVisualizer

from mmseg_keyprotect.errors import ImageFormatError, MissingFileError
from mmseg_keyprotect.images import read_for_display


@VISUALIZERS.register_module()
class EncryptedImageVisualizer(SegLocalVisualizer):
    """Draws predictions over encrypted images, as MMSegmentation's SegLocalVisualizer does over plain ones.

    Predictions have the size of the original image, and the encrypted image that of the model's input. So this
    visualizer draws over the encrypted image at the size of the original. Other images are drawn as they are.
    PackSegInputs must pack ``img_path``. The arguments are those of SegLocalVisualizer.

    Example:
        In a configuration::

            visualizer = dict(
                type='EncryptedImageVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
            )
    """

    @master_only
    def add_datasample(
        self, name: str, image: npt.NDArray[Any], data_sample: SegDataSample | None = None, *args: Any, **kwargs: Any
    ) -> None:
        """Draw a data sample. The arguments are those of SegLocalVisualizer."""
        path = None if data_sample is None else data_sample.get('img_path')
        if path is not None:
            with suppress(ImageFormatError, MissingFileError):  # a plain image, or one that is not in a file
                image = read_for_display(path)
        super().add_datasample(name, np.ascontiguousarray(image), data_sample, *args, **kwargs)
