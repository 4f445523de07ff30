"""Learn what stands in the place of the key: free layers in front of, and inside, the frozen model.

A linear layer on the blocks of plain images, and a 1x1 convolution at every place whose feature map is encrypted,
are trained alone. The key is not looked for; whatever the layers become, the network behind them is as good as new.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.estimators.doubly_stochastic import DoublyStochastic, restrict
from mmseg_keyprotect.audit.estimators.objectives import norms_that_know, unlabelled_loss, watch
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.audit.training import Loss, segmentation_loss, train
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.denial.free_layers import FreeLayers

BLOCKS_LR, MAPS_LR = 1e-2, 3e-2  # the better ones of 0.003, 0.01 and 0.03 on SegFormer-B0 with 8 images
STOCHASTIC_LR = 0.1


class UnKey(Attack):
    """Free layers, learned with labels."""

    name = 'un-key'
    needs = ('weights', 'plain images', 'labels')
    seeks = None
    rates = BLOCKS_LR, MAPS_LR

    def refusal(self, target: Target) -> str | None:
        """Say where there is nothing to train with."""
        return None if target.lessons else 'Not tried: the configuration has no train_dataloader to train with.'

    def loss(self, model: nn.Module) -> Loss:
        """Return the loss to train with."""
        return segmentation_loss

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Train the layers for as long as the budget allows."""
        torch.manual_seed(0)
        model = target.stolen().requires_grad_(False)
        layers = install(model, target)
        makers = self.prepare(target, layers)
        groups = [([layers.blocks] if layers.blocks else [], self.rates[0]), (layers.maps, self.rates[1])]
        groups = [dict(params=layer.parameters(), lr=rate) for some, rate in groups for layer in some]
        optimizer = torch.optim.Adam(groups)
        steps = train(model, optimizer, target.lessons, budget, loss=self.loss(model))
        return self.result(target, model, steps, makers)

    def prepare(self, target: Target, layers: FreeLayers) -> dict[str, Any]:
        """Change the layers before they are trained; nothing here."""
        return {}

    def result(self, target: Target, model: nn.Module, steps: int, makers: dict[str, Any]) -> AttackResult:
        """Return what was learned."""
        images = len(target.lessons.indices)
        return AttackResult(f'{steps} steps on {images} images.', model=model, images=images)


class UnKeyUnlabelled(UnKey):
    """Free layers, learned without labels: sure and varied predictions, and batch norms that see what they know."""

    name = 'un-key-unlabelled'
    needs = ('weights', 'plain images')

    def loss(self, model: nn.Module) -> Loss:
        """Return the loss to train with."""
        norms = norms_that_know(model)

        def loss(model: nn.Module, data: dict[str, Any]) -> Tensor:
            with watch(norms) as strange:
                logits = model(data['inputs'], mode='tensor')
            return unlabelled_loss(logits, strange)

        return loss


class UnKeyDoublyStochastic(UnKey):
    """Layers that may become permutations with signs only: what they become is an estimate of the key as well."""

    name = 'un-key-doubly-stochastic'
    rates = STOCHASTIC_LR, STOCHASTIC_LR

    def refusal(self, target: Target) -> str | None:
        """Say where the key is no permutation with signs."""
        if target.form.has_table or (target.features and target.features.cipher.block_size > 1):
            return 'Not tried: the key is no permutation with signs of samples or channels.'
        return super().refusal(target)

    def prepare(self, target: Target, layers: FreeLayers) -> dict[str, DoublyStochastic]:
        """Restrict the layers."""
        form, makers = target.form, {}
        if layers.blocks is not None:
            makers['images'] = restrict(layers.blocks, form.has_order, form.has_signs)
        for name, layer in layers.functions.items():
            cipher = target.features.cipher
            makers[name] = restrict(layer, cipher.has_order, cipher.has_signs)
        return makers

    def result(self, target: Target, model: nn.Module, steps: int, makers: dict[str, DoublyStochastic]) -> AttackResult:
        """Return the model, and the nearest key."""
        found = super().result(target, model, steps, makers)
        nearest = {name: maker.nearest() for name, maker in makers.items()}
        images = nearest.pop('images', None)
        found.key = None if images is None else _in_order_of_the_format(images, target)
        found.features = nearest or None
        return found


def install(model: nn.Module, target: Target) -> FreeLayers:
    """Put free layers into a stolen model wherever a key was; they begin as the identity."""
    encryption = getattr(model, 'feature_encryption', None)
    layers = FreeLayers(target.form.block_size if target.form.bits else None, encryption)
    layers.to(next(model.parameters()).device)
    layers.put_before(model.backbone)
    if encryption is not None:
        encryption.use(layers.functions)
    return layers


def _in_order_of_the_format(estimate: BlockTransform, target: Target) -> BlockTransform:
    """Rename the samples of a block from (channel, row, column), as the network has them, to (row, column, RGB)."""
    m = target.form.block_size
    samples = np.arange(3 * m * m).reshape(m, m, 3)
    channels = samples if target.network_sees_rgb else samples[..., ::-1]
    return estimate.renamed(np.argsort(channels.transpose(2, 0, 1).ravel()))
