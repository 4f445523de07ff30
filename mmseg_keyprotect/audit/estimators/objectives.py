"""How well a key makes a model work on a few images: with labels, and without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform

NEW = 0.1
"""A batch norm whose variances are nearer to 1 has learned nothing, or was folded into its convolution."""

WINDOW = 96
"""Pixels; windows of images are enough, and quick."""


def windows(pictures: Sequence[np.ndarray], form: Form, count: int) -> list[np.ndarray]:
    """Cut one window of whole blocks out of each of the first pictures, or label maps, of about 96 x 96 pixels.

    The windows are spread over the images; two calls with images of one size cut the same places.
    """
    side = max(WINDOW // form.block_size, 1) * form.block_size
    height, width = (min(side, *(picture.shape[axis] for picture in pictures)) for axis in (0, 1))
    cut = []
    for number, picture in enumerate(pictures[:count]):
        rng = np.random.default_rng(number)
        top, left = (
            form.block_size * int(rng.integers((picture.shape[axis] - size) // form.block_size + 1))
            for axis, size in ((0, height), (1, width))
        )
        cut.append(picture[top : top + height, left : left + width])
    return cut


class LabelledLoss:
    """The cross-entropy of the labels of plain windows.

    Args:
        target: The model and the attacker's images with labels.
        count: How many windows.
    """

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._images = windows(target.plain, target.form, count)
        labels = np.stack(windows(target.labels, target.form, count))
        self._labels = torch.from_numpy(labels.astype(np.int64))[:, None].float()

    def __call__(self, key: BlockTransform | None, features: Mapping[str, BlockTransform] | None = None) -> float:
        """Return the loss of an estimate of the key, as of ``Target.logits``; the lower the better."""
        logits = self._target.logits(self._images, key, features)
        labels = F.interpolate(self._labels, logits.shape[-2:], mode='nearest').long()[:, 0].to(logits.device)
        return float(F.cross_entropy(logits, labels, ignore_index=self._target.ignore_index))


class UnlabelledLoss:
    """Predictions that are sure, and not all the same, in a network whose layers see what they saw in training.

    The mean entropy of the predictions, less the entropy of the mean prediction, so that a constant answer is no way
    out; and how far the statistics of a batch are from those that the batch norms keep.

    Args:
        target: The model and the attacker's plain images.
        count: How many windows.
    """

    def __init__(self, target: Target, count: int) -> None:
        self._target = target
        self._images = windows(target.plain, target.form, count)
        model = target.model
        self._norms = norms_that_know(model)

    def __call__(self, key: BlockTransform) -> float:
        """Return the loss of a key, the lower the better."""
        with watch(self._norms) as strange:
            logits = self._target.logits(self._images, key)
        return float(unlabelled_loss(logits, strange))


def unlabelled_loss(logits: Tensor, strange: Sequence[Tensor]) -> Tensor:
    """Return the loss of predictions, (N, classes, h, w), and of what the batch norms saw meanwhile."""
    shares = logits.softmax(1)
    unsure = _entropy(shares).mean() - _entropy(shares.mean((0, 2, 3), keepdim=True)).mean()
    return unsure + (sum(strange) / len(strange) if strange else 0)


def norms_that_know(model: nn.Module) -> list[nn.Module]:
    """Return the batch norms of a model that remember its training."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and _knows(module)]


def _knows(norm: nn.Module) -> bool:
    """Whether a batch norm keeps statistics, and not those that it was made with."""
    return norm.track_running_stats and float((norm.running_var - 1).abs().max()) > NEW


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(1e-9).log()).sum(1)


@contextmanager
def watch(norms: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """Collect how strange the input of each batch norm is, while the model runs."""
    strange: list[Tensor] = []

    def look(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        usual = norm.running_var + 1e-5
        shift = (mean - norm.running_mean) ** 2 / usual
        strange.append((shift.clamp_max(10) + ((variance + 1e-5) / usual).log().abs()).mean())

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        yield strange
    finally:
        for hook in hooks:
            hook.remove()
