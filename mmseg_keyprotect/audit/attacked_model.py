"""The model of a target, as an attacker with its weights has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.ciphers.feature_ciphers import FeatureCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.config.channels import RGB
from mmseg_keyprotect.config.view import is_private_side
from mmseg_keyprotect.models.features.places import Place
from mmseg_keyprotect.models.preprocessor import swaps_channels
from mmseg_keyprotect.session.model import LoadedModel, using


class AttackedModel:
    """A protected model without its key, or a model with a private side.

    Args:
        protected: The model.
        ignore_index: The label of pixels that do not count.
    """

    def __init__(self, protected: LoadedModel, ignore_index: int = 255) -> None:
        self._protected = protected
        self.ignore_index = ignore_index

    @cached_property
    def model(self) -> BaseSegmentor:
        """The stolen model, in eval mode; no part of it holds the key."""
        return self.stolen()

    def stolen(self) -> BaseSegmentor:
        """Return a new copy of the stolen model."""
        return self._protected.stolen()

    @property
    def feature_cipher(self) -> FeatureCipher | None:
        """The cipher of feature maps, which holds no key; None if feature maps are plain."""
        features = self._protected.features
        return None if features is None else features.cipher

    @property
    def feature_places(self) -> list[Place]:
        """The encrypted places of ``model``; empty if feature maps are plain."""
        return [] if self.feature_cipher is None else self.model.feature_encryption.places

    @property
    def network_sees_rgb(self) -> bool:
        """Whether the backbone gets images in RGB order; else BGR."""
        conversion = swaps_channels(self.model.data_preprocessor)
        return (self._protected.channel_order == 'rgb') != conversion

    @property
    def is_private_side(self) -> bool:
        """Whether the private weights are on a machine that the attacker cannot read."""
        return is_private_side(self._protected.cfg)

    def answer(self, crop: Tensor) -> SegDataSample:
        """Return the prediction of the running model, which has the key, for a plain crop.

        Args:
            crop: uint8 (C, H, W), as the training pipeline gives it.
        """
        sample = SegDataSample(metainfo=dict(img_shape=crop.shape[1:], ori_shape=crop.shape[1:]))
        return self._protected.predict(self._protected.users.correct(), dict(inputs=[crop], data_samples=[sample]))

    @torch.no_grad()
    def logits(
        self,
        images: Sequence[np.ndarray],
        key: BlockTransform | None,
        features: Mapping[str, BlockTransform] | None = None,
    ) -> Tensor:
        """Return the output for plain images, see :meth:`~mmseg_keyprotect.audit.view.View.logits`."""
        bgr = self._protected.channel_order == 'bgr' and images[0].shape[-1] == RGB
        order = slice(None, None, -1) if bgr else slice(None)
        tensors = [torch.from_numpy(image[..., order].transpose(2, 0, 1).copy()) for image in images]
        user = self._protected.users.guessing(key, features)
        inputs = self._protected.prepare(user, dict(inputs=tensors), padded=False)['inputs']
        with using(self.model, user):
            return self.model(inputs, mode='tensor')

    def masks(self, images: Sequence[np.ndarray], key: BlockTransform | None) -> np.ndarray:
        """Return the masks of plain images, see :meth:`~mmseg_keyprotect.audit.view.View.masks`."""
        logits, model = self.logits(images, key), self.model
        logits = F.interpolate(logits, images[0].shape[:2], mode='bilinear', align_corners=model.align_corners)
        return np.stack([one.pred_sem_seg.data[0].cpu().numpy() for one in model.postprocess_result(logits)])


def class_logits(logits: Tensor) -> Tensor:
    """Return logits whose softmax gives the probability of every class.

    A head of binary segmentation may have one output channel z, ``out_channels=1``. The probability of the class 1 is
    then the sigmoid of z, which is the softmax of (0, z).

    Args:
        logits: float (N, C, h, w), the output of the head.

    Returns:
        float (N, 2, h, w) for one channel; any other unchanged.

    Example:
        >>> class_logits(torch.full((1, 1, 1, 1), 3.0)).flatten().tolist()
        [0.0, 3.0]
    """
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
