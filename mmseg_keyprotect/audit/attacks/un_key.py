"""Un-key attacks: train free layers in place of the key, in front of the frozen model and inside it.

The attack trains a linear layer on the blocks of plain images, and a 1x1 convolution at every encrypted place. It does
not look for the key: any layers with which the frozen network works will do.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.doubly_stochastic import DoublyStochastic, restrict
from mmseg_keyprotect.audit.estimators.objectives import trained_batch_norms, unlabelled_loss, watch
from mmseg_keyprotect.audit.rates import Attempt, train_at_best_rates
from mmseg_keyprotect.audit.training import Loss, segmentation_loss
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.config.channels import RGB
from mmseg_keyprotect.models.denial.free_layers import FreeLayers

BLOCKS_LR, MAPS_LR = 1e-2, 3e-2  # the best of 0.003, 0.01 and 0.03 on SegFormer-B0 with 8 images
STOCHASTIC_LR = 0.1

Estimates = tuple[BlockTransform | None, dict[str, BlockTransform] | None]


class UnKey(Attack):
    """Train free layers with labels."""

    name = 'un-key'
    needs: ClassVar[tuple[str, ...]] = ('weights', 'plain images', 'labels')
    seeks = None
    rates = BLOCKS_LR, MAPS_LR

    def loss(self, model: BaseSegmentor) -> Loss:
        """Return the loss to train with."""
        return segmentation_loss

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Train the layers until the budget is spent."""
        training_set = view.training_set
        found = train_at_best_rates(lambda: self.start(view), training_set, budget)
        key, features = self.estimate(view, found.attempt.parts)
        images = len(training_set)
        return AttackResult(
            found.sentence,
            key=key,
            features=features,
            model=found.attempt.model,
            images=images,
            stopped=found.stopped,
        )

    def start(self, view: View) -> Attempt:
        """Return the stolen model with free layers, which are to be trained."""
        torch.manual_seed(0)
        model = view.stolen().requires_grad_(False)
        layers = install(model, view)
        makers = self.prepare(view, layers)
        groups = [dict(params=layer.parameters(), lr=self.rates[1]) for layer in layers.maps]
        if layers.blocks is not None:
            groups.insert(0, dict(params=layers.blocks.parameters(), lr=self.rates[0]))
        return Attempt(model, torch.optim.Adam(groups), self.loss(model), makers)

    def prepare(self, view: View, layers: FreeLayers) -> dict[str, Any]:
        """Change the layers before the training; here nothing."""
        return {}

    def estimate(self, view: View, makers: dict[str, Any]) -> Estimates:
        """Return estimates of the keys of images and of feature maps; here none."""
        return None, None


class UnKeyUnlabelled(UnKey):
    """Train free layers without labels, for confident and varied predictions and the usual batch-norm statistics."""

    name = 'un-key-unlabelled'
    needs = ('weights', 'plain images')

    def loss(self, model: BaseSegmentor) -> Loss:
        """Return the loss to train with."""
        norms = trained_batch_norms(model)

        def loss(model: BaseSegmentor, data: dict[str, Any]) -> Tensor:
            with watch(norms) as deviations:
                logits = model(data['inputs'], mode='tensor')
            return unlabelled_loss(logits, deviations)

        return loss


class UnKeyDoublyStochastic(UnKey):
    """Train layers that can only become signed permutations, which also gives an estimate of the key."""

    name = 'un-key-doubly-stochastic'
    rates = STOCHASTIC_LR, STOCHASTIC_LR

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Train the layers until the budget is spent."""
        if view.cipher_info.has_table or (view.feature_cipher and view.feature_cipher.block_size > 1):
            raise NotApplicable('the key is no signed permutation of samples or channels')
        return super().run(view, budget)

    def prepare(self, view: View, layers: FreeLayers) -> dict[str, DoublyStochastic]:
        """Restrict the layers to doubly stochastic ones."""
        info, cipher = view.cipher_info, view.feature_cipher
        makers: dict[str, DoublyStochastic] = {}
        if layers.blocks is not None:
            makers['images'] = restrict(layers.blocks, info.has_order, info.has_signs)
        if cipher is not None:
            for name, layer in layers.functions.items():
                makers[name] = restrict(layer, cipher.has_order, cipher.has_signs)
        return makers

    def estimate(self, view: View, makers: dict[str, DoublyStochastic]) -> Estimates:
        """Return the nearest keys."""
        nearest = {name: maker.nearest() for name, maker in makers.items()}
        images = nearest.pop('images', None)
        return None if images is None else _in_order_of_the_format(images, view), nearest or None


def install(model: BaseSegmentor, view: View) -> FreeLayers:
    """Put free layers, which start as the identity, into a stolen model wherever the key would be.

    Args:
        model: From :meth:`~mmseg_keyprotect.audit.view.View.stolen`; it is changed.
        view: The view that it comes from.

    Returns:
        The layers.
    """
    encryption = getattr(model, 'feature_encryption', None)
    info = view.cipher_info
    layers = FreeLayers(info.block_size if info.bits else None, encryption, info.channels)
    layers.to(next(model.parameters()).device)
    layers.put_before(model.backbone)
    if encryption is not None:
        encryption.use(layers.functions)
    return layers


def _in_order_of_the_format(estimate: BlockTransform, view: View) -> BlockTransform:
    """Reorder the samples of a block from (channel, row, column), as in the network, to (row, column, channel)."""
    info = view.cipher_info
    samples = np.arange(info.samples).reshape(info.block_size, info.block_size, info.channels)
    channels = samples if view.network_sees_rgb or info.channels != RGB else samples[..., ::-1]
    return estimate.renamed(np.argsort(channels.transpose(2, 0, 1).ravel()))
