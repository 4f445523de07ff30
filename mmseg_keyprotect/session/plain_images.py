"""The images that a model is asked about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from mmengine.config import Config

from mmseg_keyprotect.config.channels import RGB
from mmseg_keyprotect.errors import ConfigError, ImageFormatError, MissingFileError
from mmseg_keyprotect.images.files import SUFFIXES, read_image
from mmseg_keyprotect.session.images import TestImages, spaced


def images_in(folder: str | Path, count: int) -> list[np.ndarray]:
    """Return images of a folder, evenly spaced in the order of their names, RGB uint8 (H, W, 3).

    Args:
        folder: The folder; its sub-folders are left out.
        count: The number of images, at most.

    Raises:
        MissingFileError: It does not exist, or holds no images.
        ImageFormatError: One of them cannot be read.
    """
    files = sorted(path for path in Path(folder).glob('*') if path.suffix.lower() in SUFFIXES)
    if not files:
        raise MissingFileError(f'Expected a folder with images, but {folder} has none. Check the path.')
    return [read_image(files[index]) for index in chosen(len(files), count)]


def images_of(cfg: Config, count: int) -> list[np.ndarray]:
    """Return images of ``test_dataloader`` after its pipeline, RGB uint8 (H, W, 3), evenly spaced.

    Args:
        cfg: The configuration of a plain model, whose pipeline loads BGR as OpenMMLab does.
        count: The number of images, at most.

    Raises:
        MissingFileError: There is no such data set.
        ImageFormatError: The images have another number of channels than three.
    """
    dataset = TestImages(cfg)
    images = [dataset.batch(index)['inputs'][0].numpy() for index in chosen(len(dataset), count)]
    if len(images[0]) != RGB:
        raise ImageFormatError(f'Expected images of {RGB} channels, but got {len(images[0])}. Give colour images.')
    return [np.ascontiguousarray(image[::-1].transpose(1, 2, 0)) for image in images]


def chosen(total: int, count: int) -> list[int]:
    """Return the indices of the images to take.

    Raises:
        ConfigError: ``count`` is not above 0.
    """
    if count < 1:
        raise ConfigError(f'Expected at least 1 image, but got {count}. Give more.')
    return spaced(np.arange(total), count).tolist()
