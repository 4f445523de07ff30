"""Search for the key of images by questions to the running model, which answers with masks."""

from __future__ import annotations

import numpy as np

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.audit.attacks.hill_climbing import HillClimbing, Loss
from mmseg_keyprotect.audit.estimators.objectives import windows
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform


class MaskLoss:
    """Compares the masks that the running model gives for windows of images with their labels.

    Args:
        view: A view with masks, plain images and labels.
        count: The number of windows.

    Attributes:
        asked: The number of images that the model was asked about.
    """

    def __init__(self, view: View, count: int) -> None:
        self._view, self.asked = view, 0
        self._images = windows(view.plain, view.cipher_info, count)
        labels = np.stack(windows(view.labels, view.cipher_info, count)).astype(np.int64)
        self._counted = labels != view.ignore_index
        self._labels = labels[self._counted]

    def __call__(self, key: BlockTransform) -> float:
        """Return 1 minus the mIoU over the classes of the labels; lower is better."""
        masks = self._view.masks(self._images, key)[self._counted]
        self.asked += len(self._images)
        size = int(max(masks.max(), self._labels.max())) + 1
        right = np.bincount(masks[masks == self._labels], minlength=size)
        here = np.bincount(self._labels, minlength=size)
        said = np.bincount(masks, minlength=size)
        return float(1 - (right / (here + said - right).clip(1))[here > 0].mean())


class QueryMasks(HillClimbing):
    """Hill climbing by the masks of the running model and the labels of a few images; no weights are read."""

    name = 'query-masks'
    needs = ('masks', 'plain images', 'labels')

    def loss(self, view: View, count: int) -> Loss:
        """Return the loss of the masks."""
        self._asking = MaskLoss(view, count)
        return self._asking

    def result(self, view: View, sentence: str, key: BlockTransform, images: int) -> AttackResult:
        """Return the result with the best key, and the number of questions."""
        return AttackResult(sentence, key=key, images=images, queries=self._asking.asked)
