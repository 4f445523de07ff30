"""Choose test images to show, spread over the data set and different from each other."""

from __future__ import annotations

import numpy as np
from torch.nn.functional import adaptive_avg_pool2d

from mmseg_keyprotect.session.images import TestImages

CANDIDATES = 5
"""The number of candidates for one picture."""

GRID = 8
"""The side of the grid of mean colours that two images are compared by."""


def choose_images(images: TestImages, count: int) -> list[int]:
    """Return the indices of images to show.

    The data set is divided into as many stretches of equal length. From each stretch comes the candidate that differs
    most from the images chosen before, by the shares of the classes and by the colours.

    Args:
        images: The images.
        count: The number of images, at most.
    """
    chosen: list[int] = []
    seen: list[np.ndarray] = []
    for stretch in np.array_split(np.arange(len(images)), max(min(count, len(images)), 1)):
        places = np.linspace(0, len(stretch) - 1, min(CANDIDATES, len(stretch))).round().astype(int)
        candidates = [int(index) for index in stretch[places]]
        found = [describe(images, index) for index in candidates]
        nearest = [min((float(np.abs(one - other).sum()) for other in seen), default=0.0) for one in found]
        best = int(np.argmax(nearest))
        chosen.append(candidates[best])
        seen.append(found[best])
    return chosen


def describe(images: TestImages, index: int) -> np.ndarray:
    """Return what an image looks like: the shares of its classes, if it has labels, and a grid of mean colours."""
    batch = images.batch(index)
    colours = adaptive_avg_pool2d(batch['inputs'][0].float(), GRID).numpy().ravel()
    parts = [colours / 255 / colours.size]
    if images.labelled:
        label = batch['data_samples'][0].gt_sem_seg.data.numpy().ravel()
        counts = np.bincount(label[(label >= 0) & (label < len(images.classes))], minlength=len(images.classes))
        parts.append(counts / max(label.size, 1))
    return np.concatenate(parts)
