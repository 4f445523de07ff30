"""Choose the learning rates of an attack on labelled images that the attacker has, and train with the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mmseg.models.segmentors import BaseSegmentor

from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.training import AttackerTrainingSet, Loss, segmentation_loss, steps_left_undone, train

SCALES = (1.0, 0.3, 3.0, 0.1, 10.0)
"""What the rates of an attack are multiplied by, in the order in which they are tried."""

TRIAL_STEPS, TRIAL_TIME = 1 / 8, 1 / 16
"""The share of the steps, and of the time limit, that one trial may use."""

BATCHES = 8
"""Batches that a trial is judged by."""


@dataclass
class Attempt:
    """A model that is ready to be trained.

    Args:
        model: The model, whose ``data_preprocessor`` takes plain images.
        optimizer: The optimizer of what is trained, with the attack's own learning rates.
        loss: The loss of a batch.
        parts: What else the attack needs from the model after the training.
    """

    model: BaseSegmentor
    optimizer: torch.optim.Optimizer
    loss: Loss = segmentation_loss
    parts: Any = None


@dataclass(frozen=True)
class Trained:
    """The end of a training.

    Args:
        attempt: What was trained.
        sentence: What was done, in words.
        stopped: What had been done when the time ended, for example ``4 of 200 steps``; empty if all was.
    """

    attempt: Attempt
    sentence: str
    stopped: str


def train_at_best_rates(
    start: Callable[[], Attempt], training_set: AttackerTrainingSet, budget: Budget, warm_up: float = 0.0
) -> Trained:
    """Train on all images, at the rates that did best in shorter trainings on a part of the images.

    Each trial trains on three quarters of the images, and is judged by its loss on the others. With a single image, or
    with one rate in the budget, the attack's own rates are used.

    Args:
        start: Makes the same untrained attempt each time.
        training_set: The attacker's images.
        budget: The limits; ``rates`` is the number of rates to try.
        warm_up: See :func:`~mmseg_keyprotect.audit.training.train`.
    """
    losses: dict[float, float] = {}
    if budget.rates > 1 and len(training_set) > 1:
        own, held = training_set.split()
        for scale in SCALES[: budget.rates]:
            attempt = scaled(start(), scale)
            trial = budget.part(TRIAL_TIME, max(1, round(TRIAL_STEPS * budget.steps)))
            train(attempt.model, attempt.optimizer, own, trial, warm_up, attempt.loss)
            losses[scale] = loss_on(attempt, held)
    scale = min(losses, key=lambda one: np.nan_to_num(losses[one], nan=np.inf)) if losses else 1.0
    attempt, rest = scaled(start(), scale), budget.part()
    steps = train(attempt.model, attempt.optimizer, training_set, rest, warm_up, attempt.loss)
    chosen = f', at {scale:g} times the usual rates, the best of {len(losses)}' if losses else ''
    sentence = f'{steps} steps on {training_set.words}{chosen}.'
    return Trained(attempt, sentence, steps_left_undone(steps, budget))


def scaled(attempt: Attempt, scale: float) -> Attempt:
    """Multiply the learning rates of an attempt, and return it."""
    for group in attempt.optimizer.param_groups:
        group['lr'] *= scale
    return attempt


@torch.no_grad()
def loss_on(attempt: Attempt, images: AttackerTrainingSet) -> float:
    """Return the mean loss of an attempt on images, with its model in eval mode; the same batches each time."""
    rng = np.random.default_rng(1)
    np.random.seed(1)  # MMSegmentation's transforms draw from numpy's global generator
    model = attempt.model.eval()
    batches = (model.data_preprocessor(images.draw(rng), True) for _ in range(BATCHES))
    return float(np.mean([float(attempt.loss(model, batch)) for batch in batches]))
