"""Train on: the stolen model, its first layer or the whole of it, on plain images; beside it a model of one's own."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.estimators.objectives import norms_that_know
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.audit.training import train
from mmseg_keyprotect.models.backbones import adapter_of
from mmseg_keyprotect.protection.checkpoints import build_model

WARM_UP = 0.1


class FineTuning(Attack):
    """Train the whole stolen model on, by the owner's optimizer."""

    name = 'fine-tuning'
    needs = ('weights', 'plain images', 'labels')
    seeks = None

    def refusal(self, target: Target) -> str | None:
        """Say where there is nothing to train with."""
        if not target.lessons or 'optim_wrapper' not in target.lessons.cfg:
            return 'Not tried: the configuration has no train_dataloader and optim_wrapper to train with.'
        return None

    def model(self, target: Target) -> nn.Module:
        """Return the model to train, in training mode; folded batch norms stay as they are."""
        model = target.stolen().train()
        known = norms_that_know(model)
        for module in model.modules():
            if isinstance(module, _BatchNorm) and module not in known:
                module.eval()
        return model

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Train for as long as the budget allows."""
        torch.manual_seed(0)
        model = self.model(target)
        optimizer = target.lessons.optimizer(model)
        steps = train(model, optimizer, target.lessons, budget, WARM_UP)
        images = len(target.lessons.indices)
        return AttackResult(f'{steps} steps on {images} images.', model=model, images=images)


class FineTuningStem(FineTuning):
    """Train its first convolution alone; the rest is as it was, batch norms included."""

    name = 'fine-tuning-stem'

    def model(self, target: Target) -> nn.Module:
        """Return the model with all but its first convolution frozen."""
        model = target.stolen().requires_grad_(False).eval()
        stem = model.backbone.get_submodule(adapter_of(model.backbone).first_convolution())
        stem.requires_grad_(True)
        return model


class FromScratch(FineTuning):
    """Steal nothing: train an unprotected model from where its owner began. What every other attack is to be beside."""

    name = 'from-scratch'
    needs = ('plain images', 'labels')

    def model(self, target: Target) -> nn.Module:
        """Return the untrained model."""
        model = build_model(copy.deepcopy(target.lessons.cfg))
        model.init_weights()
        return model.to(next(target.model.parameters()).device).train()
