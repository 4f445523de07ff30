"""A private side that learns from a trained model beside the labels."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from mmseg.models.segmentors import BaseSegmentor
from mmseg.registry import MODELS
from torch import Tensor

from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.models import PrivateSideSegmentor
from mmseg_keyprotect.session.model import load_model


@MODELS.register_module()
class DistilledPrivateSide(PrivateSideSegmentor):
    """A PrivateSideSegmentor that is trained to have the feature maps and the scores of a teacher, too.

    Hinton, Vinyals and Dean, 2015, arXiv 1503.02531; for feature maps Romero et al., 2015, arXiv 1412.6550. Here the
    teacher is the same network, trained as a whole, so that the corrected feature maps have the shapes of its own.

    Args:
        teacher: The paths of its configuration and its checkpoint.
        **kwargs: The arguments of a PrivateSideSegmentor.
    """

    def __init__(self, teacher: tuple[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._paths = teacher

    @cached_property
    def _teacher(self) -> BaseSegmentor:
        """The teacher, which is loaded only if there is a training, and is no submodule."""
        config, checkpoint = self._paths
        return load_model(load_quietly(config), checkpoint)

    def loss(self, inputs: Tensor, data_samples: list) -> dict[str, Tensor]:
        """Return the losses of the heads, and the distances from the teacher."""
        features = self.extract_feat(inputs)
        logits = self.decode_head(features)
        losses = {f'decode.{name}': one for name, one in self.decode_head.loss_by_feat(logits, data_samples).items()}
        losses.update(self._auxiliary_head_forward_train(features, data_samples))
        with torch.no_grad():
            theirs = self._teacher.extract_feat(inputs)
            scores = self._teacher.decode_head(theirs).softmax(1)
        losses['scores.loss'] = -(scores * logits.log_softmax(1)).sum(1).mean()
        corrected = map(int, self.neck.corrections)
        losses['features.loss'] = sum(F.mse_loss(features[n], theirs[n]) / theirs[n].var() for n in corrected)
        return losses
