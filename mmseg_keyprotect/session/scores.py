"""mIoU, aAcc, mAcc and the IoU of every class, from pixel counts that add up over images and processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from mmseg.evaluation import IoUMetric
from torch import Tensor


def count_pixels(prediction: Tensor, label: Tensor, classes: int, ignore_index: int = 255) -> np.ndarray:
    """Count the pixels of one image.

    Args:
        prediction: Class of each pixel, (1, H, W) or (H, W).
        label: True class of each pixel, of the same size.
        classes: How many classes there are.
        ignore_index: The label of pixels that do not count.

    Returns:
        float64 (3, classes): pixels of each class that are right, predicted, true.
    """
    label = label.squeeze().to(prediction.device)
    right, _, predicted, true = IoUMetric.intersect_and_union(prediction.squeeze(), label, classes, ignore_index)
    return np.stack([counts.double().numpy() for counts in (right, predicted, true)])


@dataclass(frozen=True)
class Scores:
    """Accuracies as mmseg's IoUMetric defines them, in percent.

    Args:
        mIoU: The mean of ``IoU``.
        aAcc: The share of right pixels.
        mAcc: The mean share of right pixels over the classes that occur in the labels.
        IoU: Of every class; None where the class neither occurs nor is predicted.
    """

    mIoU: float  # noqa: N815  the field's own spelling
    aAcc: float  # noqa: N815
    mAcc: float  # noqa: N815
    IoU: list[float | None] = field(default_factory=list)

    @classmethod
    def from_counts(cls, counts: np.ndarray) -> Scores:
        """Compute the scores.

        Args:
            counts: (3, classes), sums of what :func:`count_pixels` returns.
        """
        right, predicted, true = counts
        with np.errstate(invalid='ignore', divide='ignore'):
            iou = 100 * right / (predicted + true - right)
            accuracy = 100 * right / true
        return cls(
            mIoU=round(float(np.nanmean(iou)), 2),
            aAcc=round(float(100 * right.sum() / true.sum()), 2),
            mAcc=round(float(np.nanmean(accuracy)), 2),
            IoU=[None if np.isnan(value) else round(float(value), 2) for value in iou],
        )

    @classmethod
    def of_most_frequent(cls, true: np.ndarray) -> Scores:
        """Score the predictor that always says the most frequent class: what "useless" is measured against.

        Args:
            true: (classes,), pixels of each class in the labels.
        """
        predicted = np.zeros_like(true)
        predicted[true.argmax()] = true.sum()
        return cls.from_counts(np.stack([np.minimum(predicted, true), predicted, true]))
