"""Surrogates: train an own model on what the running model answers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.structures import PixelData
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_keyprotect.audit.attack import AttackResult, NotApplicable
from mmseg_keyprotect.audit.attacked_model import class_logits
from mmseg_keyprotect.audit.attacks.fine_tuning import FromScratch
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.training import AttackerTrainingSet
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.config.view import kind_of


@dataclass(kw_only=True)
class Answers(AttackerTrainingSet):
    """Crops with the answers of the running model in the place of labels.

    ``indices`` are the numbers of the queries. A crop and its answer are made again as they are drawn, so that nothing
    is kept in memory.

    Args:
        images: The attacker's images, without labels.
        ask: Returns the answer to a crop, uint8 (C, H, W), as an entry of its data sample.

    Attributes:
        asked: The numbers of the queries that were drawn.
    """

    images: AttackerTrainingSet
    ask: Callable[[Tensor], dict[str, PixelData]]
    asked: set[int] = field(default_factory=set)

    @property
    def words(self) -> str:
        """What the attacker has, in words."""
        return f'answers to {len(self)} crops of {len(self.images)} images'

    def __getitem__(self, number: int) -> dict[str, Any]:
        query = self.indices[number]
        self.asked.add(query)
        np.random.seed(query)  # MMSegmentation's transforms draw from numpy's global generator
        crop = self.images[query % len(self.images)]
        crop['data_samples'].set_data(self.ask(crop['inputs']))
        return crop


class Surrogate(FromScratch):
    """Train an own model on answers. Nothing of the protected model is read: whoever may use it can do this.

    Orekondy, Schiele and Fritz, 2019, arXiv 1812.02766.
    """

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Train until the budget is spent."""
        self.answers = self._answers(view, budget.queries)
        result = super().run(view, budget)
        return replace(result, images=len(self.answers.images), queries=len(self.answers.asked))

    def training_set(self, view: View) -> AttackerTrainingSet:
        """Return the crops with their answers."""
        return self.answers

    def _answers(self, view: View, queries: int) -> Answers:
        own = super().training_set(view)
        if 'GenerateEdge' in map(kind_of, own.source.get('pipeline', [])):
            raise NotApplicable('the model is trained on edges of labels, which answers do not have')
        return Answers(
            own.cfg, own.source, list(range(queries)), images=own, ask=lambda crop: self.answer(view, crop[None])
        )

    @abstractmethod
    def answer(self, view: View, crops: Tensor) -> dict[str, PixelData]:
        """Return the answer to one crop, uint8 (1, C, H, W), as an entry of its data sample."""


class SurrogateMasks(Surrogate):
    """Train an own model on the class that the running model gives for each pixel."""

    name = 'surrogate-masks'
    needs: ClassVar[tuple[str, ...]] = ('masks of plain images', 'plain images')

    def answer(self, view: View, crops: Tensor) -> dict[str, PixelData]:
        """Return the mask in the place of the label."""
        return dict(gt_sem_seg=PixelData(data=view.plain_masks(crops)))


class SurrogateScores(Surrogate):
    """Train an own model on the probability that the running model gives for every class and pixel."""

    name = 'surrogate-scores'
    needs: ClassVar[tuple[str, ...]] = ('scores of plain images', 'plain images')

    def answer(self, view: View, crops: Tensor) -> dict[str, PixelData]:
        """Return the scores, float (classes, h, w)."""
        return dict(scores=PixelData(data=view.plain_scores(crops)[0]))

    def loss(self, model: BaseSegmentor, data: dict[str, Any]) -> Tensor:
        """Return the cross entropy between the answers and the model's scores, in the resolution of the answers."""
        scores = torch.stack([sample.scores.data for sample in data['data_samples']])
        logits = class_logits(model(data['inputs'], mode='tensor'))
        logits = F.interpolate(logits, scores.shape[2:], mode='bilinear', align_corners=False)
        return -(scores * logits.log_softmax(1)).sum(1).mean()
