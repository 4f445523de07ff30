"""What ShadowNet and GroupCover share: the file has obfuscated kernels; norms and classifier stay in the trusted part.

Both run convolutions outside the trusted part, with obfuscated kernels, and restore their results inside of it, where
norms and activations are computed as well. A depthwise convolution cannot mix channels. Its kernels are reordered and
scaled, as ShadowNet does, and its input is sent in that order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from mmcv.cnn import ConvModule
from mmseg.models.segmentors import BaseSegmentor
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from benchmarks.paper.rivals.base import Rival, State, depthwise, filled, norm_names, shipped, units

CLASSIFIER = ('decode_head.conv_seg.weight', 'decode_head.conv_seg.bias')


class Outsourced(Rival):
    """Obfuscated kernels outside, the rest inside."""

    @abstractmethod
    def obfuscate(self, kernels: Tensor) -> tuple[Tensor, State]:
        """Obfuscate the kernels of a convolution that mixes channels.

        Args:
            kernels: float (C, ...), flattened to (C, d).

        Returns:
            The kernels of the file, (C or more, d), and the secret that restores their results.
        """

    @abstractmethod
    def restore(self, seen: Tensor, secret: Mapping[str, Tensor]) -> Tensor:
        """Compute the results of the true kernels, (N, C, ...), from those of the file's, (N, C or more, ...)."""

    @abstractmethod
    def recover(self, found: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
        """Recover kernels beside public ones.

        Args:
            found: The kernels of the file, (C or more, d).
            public: The public kernels, (C, d).

        Returns:
            The recovered kernels (C, d), and what they were taken for.
        """

    def beside(self, model: BaseSegmentor, file: Mapping[str, Tensor], public: Mapping[str, Tensor]) -> State:
        """Recover the kernels that have a public counterpart; norms and classifier come from the public model."""
        weights = dict(file)
        for name, unit in units(model):
            kernel = f'{name}.conv.weight'
            if kernel in public:
                way = gathered if depthwise(unit) else self.recover
                kernels, _ = way(file[kernel].flatten(1), public[kernel].flatten(1))
                weights[kernel] = kernels.view(public[kernel].shape)
                weights |= {norm: public[norm] for norm in norm_names(name)}
        return weights | {name: public[name] for name in CLASSIFIER if name in public}

    def protect(self, model: BaseSegmentor, data: list[dict[str, Any]]) -> tuple[State, State]:
        """Obfuscate every convolution that a norm follows."""
        file, secret = shipped(model), {}
        for name, unit in units(model):
            kernels = file[f'{name}.conv.weight']
            hide = scatter if depthwise(unit) else self.obfuscate
            found, own = hide(kernels.flatten(1))
            file[f'{name}.conv.weight'] = found.view(-1, *kernels.shape[1:])
            secret |= {f'{name}/{word}': value for word, value in own.items()}
            secret |= {norm: file.pop(norm) for norm in norm_names(name)}
        return file, secret | {name: file.pop(name) for name in CLASSIFIER}

    def with_key(self, model: BaseSegmentor, file: Mapping[str, Tensor], secret: Mapping[str, Tensor]) -> BaseSegmentor:
        """Put convolutions into the model that compute outside and restore inside."""
        model = filled(model, {**file, **secret})
        for name, unit in list(units(model)):
            own = {word.partition('/')[2]: value for word, value in secret.items() if word.startswith(f'{name}/')}
            restore = gather if depthwise(unit) else self.restore
            unit.conv = RestoredConvolution(unit, file[f'{name}.conv.weight'], own, restore)
        return model


class RestoredConvolution(nn.Module):
    """A convolution with the kernels of the file, and the restoration of its results.

    Args:
        unit: The unit, for the settings of its convolution.
        kernels: Those of the file.
        secret: What the restoration needs.
        restore: The restoration.
    """

    def __init__(self, unit: ConvModule, kernels: Tensor, secret: State, restore: Any) -> None:
        super().__init__()
        conv = unit.conv
        self.kernels, self.secret, self.restore = kernels, secret, restore
        self.sends = secret['order'] if depthwise(unit) else None
        self.settings = dict(stride=conv.stride, padding=conv.padding, dilation=conv.dilation, groups=conv.groups)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve outside and restore inside."""
        if self.sends is not None:
            x = x[:, self.sends]
        return self.restore(nn.functional.conv2d(x, self.kernels, **self.settings), self.secret)


def scatter(kernels: Tensor) -> tuple[Tensor, State]:
    """Reorder and scale kernels; ``order`` says which true kernel each one of the file is."""
    order, scales = torch.randperm(len(kernels)), random_scales(len(kernels))
    return kernels[order] * scales[:, None], dict(order=order, scales=scales)


def gather(seen: Tensor, secret: Mapping[str, Tensor]) -> Tensor:
    """Undo the scales and the order of :func:`scatter`."""
    return (seen / secret['scales'].view(1, -1, 1, 1))[:, secret['order'].argsort()]


def gathered(found: Tensor, public: Tensor) -> tuple[Tensor, Tensor]:
    """Recover kernels of :func:`scatter`: match directions, then scale by least squares, as ArrowMatch does.

    Returns:
        The recovered kernels (C, d), and which kernel of the file each one is, (C,).
    """
    seen, known = (one / one.norm(dim=1, keepdim=True).clamp_min(1e-12) for one in (found, public))
    places = torch.from_numpy(linear_sum_assignment((known @ seen.T).abs().numpy(), maximize=True)[1])
    return scaled_like(found[places], public), places


def scaled_like(kernels: Tensor, public: Tensor) -> Tensor:
    """Scale each kernel, (C, d) both, so that it is as near to the public one as it can be up to its length."""
    scales = (kernels * public).sum(1) / (public * public).sum(1).clamp_min(1e-12)
    return kernels / torch.where(scales.abs() < 1e-3, torch.ones_like(scales), scales)[:, None]


def random_scales(count: int) -> Tensor:
    """Draw factors from 0.5 to 2, with random signs, (count,)."""
    return torch.exp2(2 * torch.rand(count) - 1) * (2 * torch.randint(2, (count,)) - 1)
