"""Measure the accuracy that an attacker reaches, on images that the attacker never saw."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.images import TestImages, spaced
from mmseg_keyprotect.session.model import LoadedModel
from mmseg_keyprotect.session.scores import Scores
from mmseg_keyprotect.session.users import User


class HeldOut:
    """Labelled images of ``test_dataloader``, evenly spread over it.

    Args:
        protected: The model.
        images: Its test images.
        count: The number of images, at most.

    Attributes:
        indices: The indices of the held-out images.

    Raises:
        ConfigError: The test images have no labels.
    """

    def __init__(self, protected: LoadedModel, images: TestImages, count: int) -> None:
        if not images.labelled:
            raise ConfigError(
                'Expected test images with labels, to measure what an attacker reaches, but got none. '
                'Add the labels, or give another data set in test_dataloader.'
            )
        self._protected, self._images = protected, images
        self.indices: list[int] = spaced(np.arange(len(images)), count).tolist()

    @cached_property
    def _masks(self) -> list[Tensor]:
        """The masks of the user with the correct key, uint8 or int16 (1, H, W), in the order of ``indices``."""
        kind = torch.uint8 if len(self._images.classes) <= 256 else torch.int16
        predictions = self._predictions(self._protected.users.correct())
        return [prediction.pred_sem_seg.data.to('cpu', kind) for prediction in predictions]

    def reference(self) -> dict[str, float]:
        """Return the mIoU of the rightful user, then what anybody has.

        Returns:
            ``correct key`` and ``no key``, or ``whole model`` for a model with a private side, which has no key; then
            ``floor``, the majority-class baseline.
        """
        users = self._protected.users
        correct = self._counts_of(users.correct())
        found = Scores.from_counts(correct).mIoU
        floor = Scores.of_most_frequent(correct[2]).mIoU
        if self._protected.identity is None:
            return {'whole model': found, 'floor': floor}
        no_key = Scores.from_counts(self._counts_of(users.without_key())).mIoU
        return {'correct key': found, 'no key': no_key, 'floor': floor}

    @torch.no_grad()
    def reached(self, result: AttackResult) -> tuple[float | None, float | None]:
        """Return what an attacker reaches; None twice without a model and without an estimate of a key.

        Returns:
            The mIoU, and the share of pixels where their masks are those of the correct key; both in percent.
        """
        if result.model is not None:
            model = result.model.eval()
            predictions: Iterator[SegDataSample] = (model.test_step(self._images.batch(n))[0] for n in self.indices)
        elif result.key is not None or result.features is not None:
            user = self._protected.users.guessing(result.key, result.features)
            predictions = self._predictions(user)
        else:
            return None, None
        counts, same, total = np.zeros((3, len(self._images.classes))), 0, 0
        for prediction, mask in zip(predictions, self._masks, strict=True):
            counts += self._images.pixels(prediction)
            same += int((prediction.pred_sem_seg.data.cpu() == mask).sum())
            total += mask.numel()
        return Scores.from_counts(counts).mIoU, round(100 * same / total, 1)

    def _counts_of(self, user: User) -> np.ndarray:
        return np.sum([self._images.pixels(prediction) for prediction in self._predictions(user)], axis=0)

    def _predictions(self, user: User) -> Iterator[SegDataSample]:
        """Yield the predictions that a user gets, in the order of ``indices``."""
        return self._protected.predict_each((user, self._images.batch(index)) for index in self.indices)
