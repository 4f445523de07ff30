"""The attacker who learns an un-key while the model is trained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.models.denial.free_layers import FreeLayers


class UnKeyAttacker:
    """Trains linear layers in the place of the key, with Adam on the model's own loss; they start as the identity.

    The layers are in no state dict, so resumed training starts with new ones.

    Args:
        model: The segmentor, which is not kept.
        images: Float (N, C, H, W), of which the number of channels and the device are taken.
        lr: The learning rate of Adam, above 0.
    """

    def __init__(self, model: BaseSegmentor, images: Tensor, lr: float) -> None:
        cipher = getattr(model.data_preprocessor, 'keyed_cipher', None)
        features = getattr(model, 'feature_encryption', None)
        layers = FreeLayers(None if cipher is None else cipher.block_size, features, images.shape[1])
        self.layers = layers.to(images.device).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self.layers.parameters(), lr)

    def step(self, model: BaseSegmentor, images: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
        """Train the layers for one step; the model stays as it is.

        Args:
            model: The segmentor, with the layers in the place of the key.
            images: Float (N, C, H, W), plain.
            samples: One for each image, with labels.

        Returns:
            The attacker's loss before the step, a scalar.
        """
        self.layers.requires_grad_(True)
        parameters = list(self.layers.parameters())
        loss, _ = model.parse_losses(model.loss(images, samples))
        # not loss.backward(), which would add to the gradients of the model
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self.layers.requires_grad_(False)
        return loss.detach()
