"""Compute mIoU, aAcc, mAcc and the IoU of every class from pixel counts, which add up over images and processes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor


def count_pixels(prediction: Tensor, label: Tensor, classes: int, ignore_index: int = 255) -> np.ndarray:
    """Count the pixels of one image: the numbers of mmseg's ``IoUMetric.intersect_and_union``, several times as fast.

    Args:
        prediction: The predicted class of each pixel, integers (1, H, W) or (H, W).
        label: The true class of each pixel, of the same size.
        classes: The number of classes.
        ignore_index: The label of pixels that do not count.

    Returns:
        float64 (3, classes): for each class the number of right, predicted and true pixels.

    Example:
        >>> import torch
        >>> count_pixels(torch.tensor([[0, 1, 1]]), torch.tensor([[0, 1, 0]]), classes=2)
        array([[1., 1.],
               [1., 2.],
               [2., 1.]])
    """
    prediction, label = prediction.flatten().long(), label.flatten().to(prediction.device).long()
    # pairs of a label and a class are counted at once; -1, other values and what is ignored have rows of their own
    rows = (label.clamp(-1, classes) + 1).masked_fill_(label == ignore_index, classes + 2)
    pairs = rows * (classes + 1) + prediction.clamp(0, classes)
    table = torch.bincount(pairs, minlength=(classes + 3) * (classes + 1)).view(classes + 3, classes + 1)
    counts = table.cpu().double().numpy()
    return np.stack([counts[1:-2, :-1].diagonal(), counts[:-1, :-1].sum(axis=0), counts[1:-2].sum(axis=1)])


@dataclass(frozen=True)
class Scores:
    """Accuracies as mmseg's IoUMetric defines them, in percent.

    Args:
        mIoU: The mean of ``IoU`` over the classes that have one.
        aAcc: The share of right pixels.
        mAcc: The mean over the classes in the labels of the share of right pixels.
        IoU: The intersection over union of every class; None if a class neither occurs nor is predicted.
    """

    mIoU: float  # noqa: N815  the metric's own spelling
    aAcc: float  # noqa: N815
    mAcc: float  # noqa: N815
    IoU: list[float | None] = field(default_factory=list)

    @classmethod
    def from_counts(cls, counts: np.ndarray) -> Scores:
        """Compute the scores.

        Args:
            counts: float64 (3, classes), the sum of :func:`~mmseg_keyprotect.session.scores.count_pixels` over images.

        Example:
            >>> Scores.from_counts(np.array([[1.0, 1], [1, 2], [2, 1]])).mIoU
            50.0
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
        """Score the majority-class baseline, which predicts the most frequent class everywhere (the floor).

        Args:
            true: float64 (classes,), the number of pixels of each class in the labels.

        Example:
            >>> Scores.of_most_frequent(np.array([30.0, 60, 0, 10])).aAcc
            60.0
        """
        predicted = np.zeros_like(true)
        predicted[true.argmax()] = true.sum()
        return cls.from_counts(np.stack([np.minimum(predicted, true), predicted, true]))
