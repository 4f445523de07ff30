"""The model of a target, as an attacker with its weights has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_keyprotect.ciphers.feature_ciphers import FeatureCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.config.channels import RGB
from mmseg_keyprotect.models.features.places import Place
from mmseg_keyprotect.models.preprocessor import swaps_channels
from mmseg_keyprotect.session.model import ProtectedModel, using


class AttackedModel:
    """A protected model without its key.

    Args:
        protected: The protected model.
        ignore_index: The label of pixels that do not count.
    """

    def __init__(self, protected: ProtectedModel, ignore_index: int = 255) -> None:
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
