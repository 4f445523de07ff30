"""What a rival method is: how it splits a trained model into a readable file and a secret."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from mmcv.cnn import ConvModule
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor, nn

State = dict[str, Tensor]
PARTS = ('backbone', 'decode_head')
"""The parts of a segmentor that a device needs. The auxiliary head serves the training alone and is not shipped."""


class Rival(ABC):
    """A published protection, re-implemented small.

    A rival splits a model into tensors that anyone with the device can read, and tensors that a trusted part of the
    device keeps. All models that it gets and returns have the plain architecture, or wrap it.
    """

    name: ClassVar[str]

    @abstractmethod
    def protect(self, model: BaseSegmentor, data: list[dict[str, Any]]) -> tuple[State, State]:
        """Split a model.

        Args:
            model: The trained model, in eval mode. It is left unchanged.
            data: Prepared batches of the owner's training images, for methods that look at the loss.

        Returns:
            The file, by the names of the plain state dict, and the secret.
        """

    @abstractmethod
    def with_key(self, model: BaseSegmentor, file: Mapping[str, Tensor], secret: Mapping[str, Tensor]) -> BaseSegmentor:
        """Return the model that the authorised device runs.

        Args:
            model: A model of the plain architecture, whose weights do not matter. It is left unchanged.
            file: The readable part.
            secret: The secret part.
        """

    def beside(self, model: BaseSegmentor, file: Mapping[str, Tensor], public: Mapping[str, Tensor]) -> State:
        """Return what an attacker makes of the file beside a public model; by default the file itself.

        Args:
            model: A model of the plain architecture.
            file: The readable part.
            public: Weights of the public model, of the whole architecture or of a part of it.
        """
        return dict(file)

    def alone(self, model: BaseSegmentor, file: Mapping[str, Tensor]) -> BaseSegmentor:
        """Return the plain architecture with what the file has; other weights stay those of ``model``."""
        return filled(model, file)


def filled(model: BaseSegmentor, weights: Mapping[str, Tensor]) -> BaseSegmentor:
    """Return a copy of a model, in eval mode, with other weights in the place of some of its own.

    Of a weight with more output channels than the model has, the first ones are used.
    """
    model = copy.deepcopy(model).eval()
    own = model.state_dict()
    used = {
        name: weights[name][: len(now)] if now.dim() else weights[name] for name, now in own.items() if name in weights
    }
    model.load_state_dict(used, strict=False)
    return model


def shipped(model: BaseSegmentor) -> State:
    """Return copies of the weights that a device needs."""
    return {name: value.clone() for name, value in model.state_dict().items() if name.startswith(PARTS)}


def units(model: nn.Module, parts: tuple[str, ...] = PARTS) -> list[tuple[str, ConvModule]]:
    """Return the name and the module of every convolution that a batch norm follows, within some parts of a model."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, ConvModule) and module.with_norm and name.startswith(parts)
    ]


def depthwise(unit: ConvModule) -> bool:
    """Return whether every channel of a convolution reads its own input channel alone."""
    return unit.conv.groups == unit.conv.out_channels > 1


def norm_names(unit: str) -> list[str]:
    """Return the names of what the batch norm of a unit keeps."""
    return [f'{unit}.bn.{part}' for part in ('weight', 'bias', 'running_mean', 'running_var')]


def hidden_bytes(secret: Mapping[str, Tensor]) -> int:
    """Return the size of a secret in bytes: truth values take one bit, indices of channels (int64) two bytes."""
    sizes = {torch.bool: 1 / 8, torch.int64: 2}
    return math.ceil(sum(value.numel() * sizes.get(value.dtype, value.element_size()) for value in secret.values()))
