"""What an attacker reaches: the accuracy on images that he never saw."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.audit.guessed_cipher import GuessedCipher
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.scores import Scores, count_pixels
from mmseg_keyprotect.evaluation.users import User


class HeldOut:
    """Images of ``test_dataloader``, evenly spread over it, with their labels.

    Args:
        evaluation: The model and its test images.
        count: How many images, at most.

    Raises:
        ConfigError: The test images have no labels.
    """

    def __init__(self, evaluation: AccessEvaluation, count: int) -> None:
        if not evaluation.images.labelled:
            raise ConfigError(
                'Expected test images with labels, to measure what an attacker reaches, but there are none. '
                'Add them, or give another data set by test_dataloader.'
            )
        self._evaluation = evaluation
        total = len(evaluation.images)
        self.indices = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int)).tolist()

    def reference(self) -> dict[str, float]:
        """Return the mIoU of the correct key, of no key, and of always saying the most frequent class (floor)."""
        evaluation = self._evaluation
        correct = self._count(evaluation.model, evaluation.correct)
        return {
            'correct key': Scores.from_counts(correct).mIoU,
            'no key': Scores.from_counts(self._count(evaluation.model, User('none'))).mIoU,
            'floor': Scores.of_most_frequent(correct[2]).mIoU,
        }

    def reached(self, result: AttackResult) -> float | None:
        """Return the mIoU of an attacker, in percent; None where he has neither a key nor a model."""
        if result.model is not None:
            return Scores.from_counts(self._count(result.model, User('none'))).mIoU
        if result.key is None:
            return None
        guess = GuessedCipher(self._evaluation.correct.cipher, result.key)
        return Scores.from_counts(self._count(self._evaluation.model, User('thief', guess))).mIoU

    @torch.no_grad()
    def _count(self, model: nn.Module, user: User) -> np.ndarray:
        images, counts = self._evaluation.images, []
        with self._evaluation.using(user):
            for index in self.indices:
                output = model.test_step(images.batch(index))[0]
                label = output.gt_sem_seg.data
                counts.append(count_pixels(output.pred_sem_seg.data, label, len(images.classes), images.ignore_index))
        return np.sum(counts, axis=0)
