"""What an attacker reaches: the accuracy on images that he never saw."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.audit.target import thief
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.session.scores import Scores
from mmseg_keyprotect.session.users import User


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
        correct = self._of_user(self._evaluation.correct)
        return {
            'correct key': Scores.from_counts(correct).mIoU,
            'no key': Scores.from_counts(self._of_user(self._evaluation.without_key())).mIoU,
            'floor': Scores.of_most_frequent(correct[2]).mIoU,
        }

    def reached(self, result: AttackResult) -> float | None:
        """Return the mIoU of an attacker, in percent; None where he has neither a model nor an estimate of a key."""
        if result.model is not None:
            model = result.model.eval()
            return Scores.from_counts(self._count(partial(self._evaluation.pixels_of, model))).mIoU
        if result.key is None and result.features is None:
            return None
        return Scores.from_counts(self._of_user(thief(self._evaluation, result.key, result.features))).mIoU

    def _of_user(self, user: User) -> np.ndarray:
        return self._count(partial(self._evaluation.pixels, user))

    def _count(self, pixels: Callable[[int], np.ndarray]) -> np.ndarray:
        return np.sum([pixels(index) for index in self.indices], axis=0)
