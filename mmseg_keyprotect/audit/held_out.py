"""Measure the accuracy that an attacker reaches, on images that the attacker never saw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from mmseg.structures import SegDataSample

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel
from mmseg_keyprotect.session.scores import Scores
from mmseg_keyprotect.session.users import User


class HeldOut:
    """Labelled images of ``test_dataloader``, evenly spread over it.

    Args:
        protected: The protected model.
        images: Its test images.
        count: The number of images, at most.

    Attributes:
        indices: The indices of the held-out images.

    Raises:
        ConfigError: The test images have no labels.
    """

    def __init__(self, protected: ProtectedModel, images: TestImages, count: int) -> None:
        if not images.labelled:
            raise ConfigError(
                'Expected test images with labels, to measure what an attacker reaches, but got none. '
                'Add the labels, or give another data set in test_dataloader.'
            )
        self._protected, self._images = protected, images
        total = len(images)
        self.indices: list[int] = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()

    def reference(self) -> dict[str, float]:
        """Return the mIoU of ``correct key``, of ``no key`` and of ``floor``, the majority-class baseline."""
        correct = self._counts_of(self._protected.users.correct())
        return {
            'correct key': Scores.from_counts(correct).mIoU,
            'no key': Scores.from_counts(self._counts_of(self._protected.users.without_key())).mIoU,
            'floor': Scores.of_most_frequent(correct[2]).mIoU,
        }

    @torch.no_grad()
    def reached(self, result: AttackResult) -> float | None:
        """Return the mIoU of an attacker in percent; None without a model and without an estimate of a key."""
        if result.model is not None:
            model = result.model.eval()
            return Scores.from_counts(self._counts(lambda index: model.test_step(self._images.batch(index))[0])).mIoU
        if result.key is None and result.features is None:
            return None
        user = self._protected.users.guessing(result.key, result.features)
        return Scores.from_counts(self._counts_of(user)).mIoU

    def _counts_of(self, user: User) -> np.ndarray:
        return self._counts(lambda index: self._protected.predict(user, self._images.batch(index)))

    def _counts(self, predict: Callable[[int], SegDataSample]) -> np.ndarray:
        return np.sum([self._images.pixels(predict(index)) for index in self.indices], axis=0)
