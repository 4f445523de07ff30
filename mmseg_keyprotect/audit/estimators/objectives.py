"""Objectives of a search: how well a model works with a key on a few images, with and without labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmseg_keyprotect.audit.attacked_model import class_logits
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform

UNTRAINED = 0.1
"""A batch norm whose variances are all this near to 1 was never trained, or was folded into its convolution."""

WINDOW = 96
"""The side of a window in pixels; a part of an image is enough, and fast."""


def windows(pictures: Sequence[np.ndarray], info: CipherInfo, count: int) -> list[np.ndarray]:
    """Crop one window of whole blocks, about 96 x 96 pixels, from each of the first images or label maps.

    The windows are spread over the images. Two calls with images of one size crop the same windows.

    Args:
        pictures: Images (H, W, 3) or label maps (H, W).
        info: The facts about the cipher.
        count: The number of windows.
    """
    side = max(WINDOW // info.block_size, 1) * info.block_size
    height, width = (min(side, *(picture.shape[axis] for picture in pictures)) for axis in (0, 1))
    cut = []
    for number, picture in enumerate(pictures[:count]):
        rng = np.random.default_rng(number)
        top, left = (
            info.block_size * int(rng.integers((picture.shape[axis] - size) // info.block_size + 1))
            for axis, size in ((0, height), (1, width))
        )
        cut.append(picture[top : top + height, left : left + width])
    return cut


class LabelledLoss:
    """Computes the cross-entropy of the labels on windows of plain images.

    Args:
        view: A view with weights, plain images and labels.
        count: The number of windows.
    """

    def __init__(self, view: View, count: int) -> None:
        self._view = view
        self._images = windows(view.plain, view.cipher_info, count)
        labels = np.stack(windows(view.labels, view.cipher_info, count))
        self._labels = torch.from_numpy(labels.astype(np.int64))[:, None].float()

    def __call__(self, key: BlockTransform | None, features: Mapping[str, BlockTransform] | None = None) -> float:
        """Return the loss of an estimate of the key; lower is better.

        Args:
            key: See :meth:`~mmseg_keyprotect.audit.view.View.logits`.
            features: See there.
        """
        logits = class_logits(self._view.logits(self._images, key, features))
        labels = F.interpolate(self._labels, logits.shape[-2:], mode='nearest').long()[:, 0].to(logits.device)
        return float(F.cross_entropy(logits, labels, ignore_index=self._view.ignore_index))


class UnlabelledLoss:
    """Scores a key without labels, by confident and varied predictions and by the statistics of batch norms.

    The loss is the mean entropy of the predictions minus the entropy of the mean prediction, so that a constant
    prediction scores badly. The deviations of the batch from the statistics that the batch norms keep are added.

    Args:
        view: A view with weights and plain images.
        count: The number of windows.
    """

    def __init__(self, view: View, count: int) -> None:
        self._view = view
        self._images = windows(view.plain, view.cipher_info, count)
        self._norms = trained_batch_norms(view.model)

    def __call__(self, key: BlockTransform) -> float:
        """Return the loss of an estimate of the key; lower is better."""
        with watch(self._norms) as deviations:
            logits = self._view.logits(self._images, key)
        return float(unlabelled_loss(logits, deviations))


def whole_image_loss(view: View, key: BlockTransform, count: int = 8) -> float:
    """Return the unlabelled loss of an estimate of the key on the first plain images, whole and one by one.

    Args:
        view: A view with weights and plain images.
        key: The estimate.
        count: The number of images, at most.
    """
    with watch(trained_batch_norms(view.model)) as deviations:
        logits = torch.cat([view.logits([image], key).flatten(2) for image in view.plain[:count]], 2)
    return float(unlabelled_loss(logits[..., None], deviations))


def unlabelled_loss(logits: Tensor, deviations: Sequence[Tensor]) -> Tensor:
    """Return the unlabelled loss of a batch.

    Args:
        logits: float (N, classes, h, w), or (N, 1, h, w) from a head of binary segmentation with one output.
        deviations: Scalars, see :func:`~mmseg_keyprotect.audit.estimators.objectives.watch`.
    """
    shares = class_logits(logits).softmax(1)
    unsure = _entropy(shares).mean() - _entropy(shares.mean((0, 2, 3), keepdim=True)).mean()
    return unsure + (sum(deviations) / len(deviations) if deviations else 0)


def trained_batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of a model that keep statistics of its training."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and _is_trained(module)]


def _is_trained(norm: _BatchNorm) -> bool:
    return norm.track_running_stats and float((kept_statistics(norm)[1] - 1).abs().max()) > UNTRAINED


def kept_statistics(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    """Return the mean and the variance that a batch norm keeps of its training, float (C,) both."""
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None, 'a batch norm that tracks statistics has them'
    assert variance is not None, 'a batch norm that tracks statistics has them'
    return mean, variance


def _entropy(shares: Tensor) -> Tensor:
    return -(shares * shares.clamp_min(1e-9).log()).sum(1)


@contextmanager
def watch(norms: Sequence[_BatchNorm]) -> Iterator[list[Tensor]]:
    """Collect the deviation of each batch norm's input from its kept statistics, within a ``with`` block.

    Args:
        norms: Batch norms, with statistics of a training, of the model that runs in the block.

    Yields:
        A list that receives one scalar for each batch norm that runs.
    """
    deviations: list[Tensor] = []

    def look(norm: _BatchNorm, inputs: tuple[Tensor, ...]) -> None:
        variance, mean = torch.var_mean(inputs[0], (0, 2, 3))
        kept_mean, kept_variance = kept_statistics(norm)
        usual = kept_variance + 1e-5
        shift = (mean - kept_mean) ** 2 / usual
        deviations.append((shift.clamp_max(10) + ((variance + 1e-5) / usual).log().abs()).mean())

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    try:
        yield deviations
    finally:
        for hook in hooks:
            hook.remove()
