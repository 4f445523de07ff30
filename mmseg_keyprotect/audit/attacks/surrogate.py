"""Surrogates: train an own model on what the running model answers."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.attacked_model import class_logits
from mmseg_keyprotect.audit.attacks.fine_tuning import FromScratch
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.training import AttackerTrainingSet, learns_edges
from mmseg_keyprotect.audit.view import View


@dataclass(kw_only=True)
class Answers(AttackerTrainingSet):
    """Random crops with the answers of the running model in the place of labels.

    ``indices`` are the numbers of the queries. A crop and its answer are made again as they are drawn, so that nothing
    is kept in memory.

    Args:
        images: The attacker's images, without labels.
        ask: Returns the answer to a crop, uint8 (C, H, W), as entries of its data sample.

    Attributes:
        asked: The queries that were drawn, by number, and the image that each one is from.
    """

    images: AttackerTrainingSet
    ask: Callable[[Tensor], dict[str, PixelData]]
    asked: dict[int, int] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """What the attacker has, in words."""
        return f'answers to {len(self)} crops of {self.images.words}'

    @property
    def images_used(self) -> int:
        """The number of images that were used so far."""
        return len(set(self.asked.values()))

    @property
    def queries(self) -> int:
        """The number of crops that the running model was asked about so far."""
        return len(self.asked)

    def __getitem__(self, number: int) -> dict[str, Any]:
        query = self.indices[number]
        random.seed(query)  # transforms draw from both generators, and must always give the same crop
        np.random.seed(query)
        image = int(np.random.randint(len(self.images)))
        crop = self.images[image]
        self.asked[query] = image
        crop['data_samples'].set_data(self.ask(crop['inputs']))
        return crop


class Surrogate(FromScratch):
    """Train an own model on answers. Nothing of the model is read: whoever gets answers for plain images can do this.

    Orekondy, Schiele and Fritz, 2019, arXiv 1812.02766.
    """

    def training_set(self, view: View, budget: Budget) -> AttackerTrainingSet:
        """Return as many crops as the budget has queries, with their answers."""
        own = super().training_set(view, budget)
        numbers = list(range(budget.queries))
        return Answers(own.cfg, own.source, numbers, images=own, ask=lambda crop: self.answer(view, crop))

    @abstractmethod
    def answer(self, view: View, crop: Tensor) -> dict[str, PixelData]:
        """Return the answer to a crop, uint8 (C, H, W), as entries of its data sample."""


class SurrogateMasks(Surrogate):
    """Train an own model on the class that the running model gives for each pixel."""

    name = 'surrogate-masks'
    needs: ClassVar[tuple[str, ...]] = ('masks of plain images', 'plain images')

    def training_set(self, view: View, budget: Budget) -> AttackerTrainingSet:
        """Return crops with their masks."""
        if learns_edges(view.own_model):
            raise NotApplicable('the own model learns edges of labels too, which masks do not come with')
        return super().training_set(view, budget)

    def answer(self, view: View, crop: Tensor) -> dict[str, PixelData]:
        """Return the mask in the place of the label."""
        return dict(gt_sem_seg=PixelData(data=view.plain_mask(crop)))


class SurrogateScores(Surrogate):
    """Train the last head of an own model on the probability that the running model gives for each class and pixel."""

    name = 'surrogate-scores'
    needs: ClassVar[tuple[str, ...]] = ('scores of plain images', 'plain images')

    def answer(self, view: View, crop: Tensor) -> dict[str, PixelData]:
        """Return the scores."""
        return dict(scores=PixelData(data=view.plain_scores(crop)))

    def loss(self, model: BaseSegmentor, data: dict[str, Any]) -> Tensor:
        """Return the cross entropy between the answers and the model's own scores, in the resolution of the crops.

        Raises:
            NotApplicable: The head gives more than one map of logits.
        """
        logits = model(data['inputs'], mode='tensor')
        if not isinstance(logits, Tensor):
            raise NotApplicable('the head of the own model gives more than one map of logits')
        logits = F.interpolate(class_logits(logits), data['inputs'].shape[2:], mode='bilinear', align_corners=False)
        losses = []
        for own, sample in zip(logits.log_softmax(1), data['data_samples'], strict=True):
            scores = sample.scores.data
            height, width = scores.shape[1:]  # the rest is padding
            losses.append(-(scores * own[:, :height, :width]).sum(0).mean())
        return torch.stack(losses).mean()
