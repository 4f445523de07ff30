"""Training by an attacker, on the plain labelled images that he has."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from torch import Tensor, nn

from mmseg_keyprotect.audit.attack import Budget

BATCH = 4

Loss = Callable[[nn.Module, dict[str, Any]], Tensor]


@dataclass
class Lessons:
    """An attacker's images as the owner's pipeline gives them for training, with crops and flips.

    Args:
        cfg: The configuration without protection.
        source: The dataset's configuration in it.
        indices: Which of its images he has.
    """

    cfg: Config
    source: Mapping[str, Any]
    indices: list[int]

    @cached_property
    def images(self) -> torch.utils.data.Dataset:
        """The images."""
        init_default_scope(self.cfg.get('default_scope', 'mmseg'))
        return torch.utils.data.Subset(DATASETS.build(copy.deepcopy(self.source)), self.indices)

    def optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Return the owner's optimizer for the parameters of a model that want a gradient."""
        return build_optim_wrapper(model, self.cfg.optim_wrapper).optimizer


def segmentation_loss(model: nn.Module, data: dict[str, Any]) -> Tensor:
    """Return the loss that the owner trains with."""
    return model.parse_losses(model(**data, mode='loss'))[0]


def train(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    lessons: Lessons,
    budget: Budget,
    warm_up: float = 0.0,
    loss: Loss = segmentation_loss,
) -> int:
    """Train in batches of 4 until steps or time are over, the learning rate falling to 0 as a cosine.

    Args:
        model: Whose ``data_preprocessor`` takes plain images.
        optimizer: Of what is to be trained, with the first learning rates.
        lessons: The images.
        budget: How many steps, and how much time.
        warm_up: The part of the way on which the learning rate rises, 0 to 1.
        loss: Of a batch.

    Returns:
        How many steps were done.
    """
    rng = np.random.default_rng(0)
    np.random.seed(0)  # which MMSegmentation's transforms draw from
    rates = [group['lr'] for group in optimizer.param_groups]
    for step in range(budget.steps):
        done = max(step / budget.steps, budget.share)
        if budget.over:
            return step
        rate = min(done / warm_up, 1.0) if warm_up else 1.0
        for group, first in zip(optimizer.param_groups, rates, strict=True):
            group['lr'] = first * max(rate, 1e-3) * (1 + math.cos(math.pi * done)) / 2
        batch = [lessons.images[int(index)] for index in rng.integers(len(lessons.images), size=BATCH)]
        value = loss(model, model.data_preprocessor(pseudo_collate(batch), True))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        budget.say(f'step {step} of {budget.steps}, loss {float(value.detach()):.3f}')
    return budget.steps
