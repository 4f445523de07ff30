"""Fine-tuning attacks: train the stolen model, or its first layer, on plain images; for comparison, an own model."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, ClassVar

import torch
from mmengine.device import get_device
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.objectives import trained_batch_norms
from mmseg_keyprotect.audit.rates import Attempt, train_at_best_rates
from mmseg_keyprotect.audit.training import AttackerTrainingSet, segmentation_loss
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.models.backbones import adapter_of
from mmseg_keyprotect.protection.checkpoints import build_model

WARM_UP = 0.1
"""The share of the training in which the learning rate rises."""


class FineTuning(Attack):
    """Train the whole stolen model with the owner's optimizer."""

    name = 'fine-tuning'
    needs: ClassVar[tuple[str, ...]] = ('weights', 'plain images', 'labels')
    seeks = None

    def model(self, view: View) -> BaseSegmentor:
        """Return the model to train, in training mode; batch norms without statistics of a training stay frozen."""
        model = view.stolen().train()
        trained = trained_batch_norms(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm) and module not in trained:
                module.eval()
        return model

    def training_set(self, view: View, budget: Budget) -> AttackerTrainingSet:
        """Return the images to train on, with the configuration whose optimizer trains."""
        return view.training_set

    def loss(self, model: BaseSegmentor, data: dict[str, Any]) -> Tensor:
        """Return the loss of a prepared batch."""
        return segmentation_loss(model, data)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Train until the budget is spent."""
        training_set = self.training_set(view, budget)
        if 'optim_wrapper' not in training_set.cfg:
            raise NotApplicable('the configuration has no optim_wrapper to train with')

        def start() -> Attempt:
            torch.manual_seed(0)
            model = self.model(view)
            return Attempt(model, training_set.optimizer(model), self.loss)

        found = train_at_best_rates(start, training_set, budget, WARM_UP)
        return AttackResult(
            found.sentence,
            model=found.attempt.model,
            images=training_set.images_used,
            queries=training_set.queries,
            stopped=found.stopped,
        )


class FineTuningStem(FineTuning):
    """Train the first convolution alone; everything else stays frozen, batch norms included."""

    name = 'fine-tuning-stem'

    def model(self, view: View) -> BaseSegmentor:
        """Return the model with all but its first convolution frozen."""
        model = view.stolen().requires_grad_(False).eval()
        stem = model.backbone.get_submodule(adapter_of(model.backbone).first_convolution())
        stem.requires_grad_(True)
        return model


class FromScratch(FineTuning):
    """Steal nothing and train an own unprotected model, from the owner's starting point or that of ``own_model``.

    The other attacks with labels are compared with it: stealing pays only if they reach more.
    """

    name = 'from-scratch'
    needs: ClassVar[tuple[str, ...]] = ('plain images', 'labels')

    def training_set(self, view: View, budget: Budget) -> AttackerTrainingSet:
        """Return the images to train on, with the configuration of the own model."""
        return replace(view.training_set, cfg=view.own_model)

    def model(self, view: View) -> BaseSegmentor:
        """Return the untrained model."""
        model = build_model(copy.deepcopy(view.own_model))
        model.init_weights()
        return model.to(get_device()).train()
