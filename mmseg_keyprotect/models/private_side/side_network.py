"""The side network: light blocks beside the stages of a frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from mmcv.cnn import ConvModule
from mmengine.model import BaseModule
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.errors import ConfigError

CHANNELS_DIVISOR = 8
"""Widths are multiples of it, which vector units like."""


class SideBlock(nn.Module):
    """A depthwise separable convolution with a residual connection.

    Args:
        channels: C.
        norm_cfg: The normalisation.
    """

    def __init__(self, channels: int, norm_cfg: dict[str, Any]) -> None:
        super().__init__()
        self.depthwise = ConvModule(channels, channels, 3, padding=1, groups=channels, norm_cfg=norm_cfg)
        self.pointwise = ConvModule(channels, channels, 1, norm_cfg=norm_cfg, act_cfg=None)

    def forward(self, state: Tensor) -> Tensor:
        """Return (N, C, H, W) for (N, C, H, W)."""
        return F.relu(state + self.pointwise(self.depthwise(state)))


@MODELS.register_module()
class SideNetwork(BaseModule):
    """A neck that adds a correction to every feature map of a backbone, and never feeds back into it.

    Each stage reads the backbone's feature map through a 1 x 1 convolution, adds the state of the stage before, and
    passes the sum through a depthwise separable block. The correction of the feature map begins as zero. So
    training starts from the decode head on the plain features, and the head is configured as without a side network.
    The weighted sum over the channels of the state is divided by their number, so that a step of Adam changes the
    correction by as much at any width (the output layer of Yang et al., 2022, arXiv 2203.03466).

    It is a form of side tuning: Zhang et al., 2020, arXiv 1912.13503; with lateral reads: Sung et al., 2022, arXiv
    2206.06522.

    Args:
        in_channels: C of each feature map of the backbone, in the order of its ``out_indices``.
        out_indices: The positions of the feature maps that heads read; the others get no correction, since nothing
            would train it. Default: all.
        width: The channels of a stage of the side network, as a share of those of the backbone, above 0.
        norm_cfg: The normalisation. Default: ``dict(type='BN')``.
        init_cfg: As of any module of mmengine.

    Raises:
        ConfigError: ``width`` is not above 0, or ``out_indices`` has other positions.

    Example:
        >>> import torch
        >>> side = SideNetwork(in_channels=[24, 320], width=0.25)
        >>> side.widths
        [8, 80]
        >>> maps = side([torch.zeros(1, 24, 40, 40), torch.zeros(1, 320, 10, 10)])
        >>> [tuple(one.shape) for one in maps]
        [(1, 24, 40, 40), (1, 320, 10, 10)]
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_indices: Sequence[int] | None = None,
        width: float = 0.25,
        norm_cfg: dict[str, Any] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if not width > 0:
            raise ConfigError(
                f'Expected the width of a SideNetwork above 0, but got {width}. Set model.neck.width, for example to '
                '0.25.'
            )
        outputs = range(len(in_channels)) if out_indices is None else out_indices
        if not set(outputs) <= set(range(len(in_channels))) or not outputs:
            raise ConfigError(
                f'Expected out_indices of a SideNetwork out of 0 to {len(in_channels) - 1}, but got {out_indices}. Set '
                'model.neck.out_indices to the `in_index` of the heads.'
            )
        norm_cfg = norm_cfg or dict(type='BN')
        self.in_channels = list(in_channels)
        self.widths = [max(round(width * count / CHANNELS_DIVISOR), 1) * CHANNELS_DIVISOR for count in in_channels]
        linear: dict[str, Any] = dict(kernel_size=1, norm_cfg=norm_cfg, act_cfg=None)
        self.reads = nn.ModuleList(
            ConvModule(count, wide, **linear) for count, wide in zip(in_channels, self.widths, strict=True)
        )
        self.passes = nn.ModuleList(
            ConvModule(before, wide, **linear) for before, wide in zip(self.widths, self.widths[1:], strict=False)
        )
        self.blocks = nn.ModuleList(SideBlock(wide, norm_cfg) for wide in self.widths)
        self.corrections = nn.ModuleDict(
            {str(number): nn.Conv2d(self.widths[number], in_channels[number], 1) for number in outputs}
        )
        for weight in self.corrections.parameters():
            nn.init.zeros_(weight)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the corrected feature maps.

        Args:
            features: Float (N, C, H, W) each, as from the backbone.

        Returns:
            As many feature maps of the same shapes.

        Raises:
            ConfigError: There are more or fewer feature maps than ``in_channels``.
        """
        if len(features) != len(self.in_channels):
            raise ConfigError(
                f'Expected {len(self.in_channels)} feature maps, as model.neck.in_channels says, but got '
                f'{len(features)}. Give the channels of every entry of model.backbone.out_indices.'
            )
        corrected, state = [], None
        for number, feature in enumerate(features):
            read = self.reads[number](feature)
            if state is not None:
                passed = self.passes[number - 1](state)
                read = read + F.interpolate(passed, read.shape[-2:], mode='bilinear', align_corners=False)
            state = self.blocks[number](F.relu(read))
            if (name := str(number)) in self.corrections:
                feature = feature + self.corrections[name](state / self.widths[number])
            corrected.append(feature)
        return tuple(corrected)
