"""Training by an attacker, with the plain images that they have."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import DATASETS
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.config.view import find_model, kind_of

BATCH = 4
"""Crops in a batch."""

Loss = Callable[[BaseSegmentor, dict[str, Any]], Tensor]
"""Returns the loss of a model for a prepared batch."""


@dataclass
class AttackerTrainingSet:
    """An attacker's images as the owner's pipeline gives them for training, with crops and flips.

    Args:
        cfg: The configuration without protection.
        source: The configuration of the data set in it.
        indices: The indices of the images that the attacker has.
        labelled: Whether batches hold labels.
    """

    cfg: Config
    source: Mapping[str, Any]
    indices: list[int]
    labelled: bool = True

    def without_labels(self) -> AttackerTrainingSet:
        """Return the same images without labels."""
        return replace(self, labelled=False)

    def split(self) -> tuple[AttackerTrainingSet, AttackerTrainingSet]:
        """Return two parts, of images to train with and of every fourth image to choose by; at least one each.

        Example:
            >>> whole = AttackerTrainingSet(Config(), {}, [3, 5, 7, 9, 11])
            >>> [part.indices for part in whole.split()]
            [[5, 7, 9], [3, 11]]
        """
        chosen = self.indices[::4]
        rest = [index for index in self.indices if index not in chosen]
        return replace(self, indices=rest), replace(self, indices=chosen)

    @cached_property
    def _images(self) -> torch.utils.data.Dataset:
        init_default_scope(self.cfg.get('default_scope') or 'mmseg')
        return torch.utils.data.Subset(DATASETS.build(copy.deepcopy(self.source)), self.indices)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, number: int) -> dict[str, Any]:
        one = self._images[number]
        return one if self.labelled else {**one, 'data_samples': SegDataSample(metainfo=one['data_samples'].metainfo)}

    @property
    def images_used(self) -> int:
        """The number of images that were used."""
        return len(self)

    @property
    def queries(self) -> int:
        """The number of images that the running model was asked about."""
        return 0

    @property
    def words(self) -> str:
        """What the attacker has, in words."""
        return f'{len(self)} image{"s" * (len(self) != 1)}'

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw a batch, as a data loader gives it."""
        return pseudo_collate([self[int(number)] for number in rng.integers(len(self), size=BATCH)])

    def optimizer(self, model: BaseSegmentor) -> torch.optim.Optimizer:
        """Return the owner's optimizer for the parameters of a model that require a gradient."""
        return build_optim_wrapper(model, self.cfg.optim_wrapper).optimizer


def learns_edges(cfg: Config) -> bool:
    """Tell whether a model is trained on edges of labels, which ``GenerateEdge`` makes of them in the pipeline."""
    return kind_of(find_model(cfg).get('decode_head')) == 'PIDHead'


def segmentation_loss(model: BaseSegmentor, data: dict[str, Any]) -> Tensor:
    """Return the loss that the owner trains with."""
    return model.parse_losses(model(**data, mode='loss'))[0]


def train(
    model: BaseSegmentor,
    optimizer: torch.optim.Optimizer,
    training_set: AttackerTrainingSet,
    budget: Budget,
    warm_up: float = 0.0,
    loss: Loss = segmentation_loss,
) -> int:
    """Train with batches of 4 until the steps or the time are used up; the learning rate falls to 0 as a cosine.

    Args:
        model: A segmentor whose ``data_preprocessor`` takes plain images.
        optimizer: The optimizer of what is trained, with the initial learning rates.
        training_set: The images.
        budget: The limits of steps and time.
        warm_up: The share of the training, 0 to 1, in which the learning rate rises.
        loss: The loss of a batch.

    Returns:
        The number of steps that were done.
    """
    rng = np.random.default_rng(0)
    np.random.seed(0)  # MMSegmentation's transforms draw from numpy's global generator
    rates = [group['lr'] for group in optimizer.param_groups]
    for step in range(budget.steps):
        done = max(step / budget.steps, budget.share)
        if budget.over:
            return step
        rate = min(done / warm_up, 1.0) if warm_up else 1.0
        for group, first in zip(optimizer.param_groups, rates, strict=True):
            group['lr'] = first * max(rate, 1e-3) * (1 + math.cos(math.pi * done)) / 2
        value = loss(model, model.data_preprocessor(training_set.draw(rng), True))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        budget.report(f'step {step} of {budget.steps}, loss {float(value.detach()):.3f}')
    return budget.steps


def steps_left_undone(steps: int, budget: Budget) -> str:
    """Return how far a training came that the time limit cut short; empty if it did all its steps.

    Args:
        steps: The number of steps that were done.
        budget: The limits of the training.

    Example:
        >>> steps_left_undone(4, Budget(60.0, steps=200)), steps_left_undone(200, Budget(60.0, steps=200))
        ('4 of 200 steps', '')
    """
    return f'{steps} of {budget.steps} steps' if steps < budget.steps else ''
