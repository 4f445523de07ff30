"""The block stem: the first convolution of a backbone, on blocks of pixels."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.ciphers.blocks import check_block_size, round_to_blocks
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError
from mmseg_keyprotect.models.stem.absorber import CENTRE, StemKeyAbsorber
from mmseg_keyprotect.models.stem.lifting import Grid

BORDERS = ('grey', 'exact')
NORMALISATION = ('mean', 'std')


def tolerance(value: Tensor) -> float:
    """Return the relative error up to which a value of a checkpoint is the same: twice the rounding of its dtype."""
    return max(1e-3, 2 * torch.finfo(value.dtype).eps)


def check_whole_blocks(x: Tensor, block_size: int) -> None:
    """Raise BlockAlignmentError unless the sides of images are multiples of the block size."""
    m, (height, width) = block_size, x.shape[-2:]
    if height % m or width % m:
        raise BlockAlignmentError(
            f'Expected images of whole blocks of {m} x {m} pixels, but got {height} x {width}. '
            'Encrypt them with this block size, or extend them to whole blocks in the pipeline.'
        )


torch.fx.wrap('check_whole_blocks')  # symbolic tracing, as quantisers do it, cannot follow the condition


@MODELS.register_module()
class BlockStem(nn.Conv2d):
    """Computes a convolution (O, C, k, k) with stride s and padding p on the grid of M x M blocks.

    The output is ``pixel_shuffle(conv(pixel_unshuffle(x, M)), M / s)``, on images normalised to -1 to 1. With weights
    that are lifted from the plain convolution it equals the output of the plain convolution. Any shuffle and
    negative-positive can be absorbed into the weights. Plain weights are lifted, and absorb the key, as they are
    loaded: the stem must come from :meth:`~mmseg_keyprotect.models.stem.block_stem.BlockStem.replacing` with an
    ``absorber``.

    The stem reads images as the plain convolution does: normalised by mean and std of the model's configuration, which
    are the buffers ``mean`` and ``std``, float (C,), 0 to 255. So whatever feeds the plain model feeds the protected
    one. A state dict with another mean or std is refused.

    Args:
        in_channels: C, of the image.
        out_channels: O, of the plain convolution.
        kernel_size: k, in pixels.
        stride: s, in pixels.
        padding: p, in pixels, of zeros.
        block_size: M, in pixels, a multiple of s.
        border: What lies around the image. ``'grey'``: 127.5 in every channel, which shows nothing of the key.
            ``'exact'``: the mean colour, as around the image of the plain convolution. It is kept, encrypted, in the
            buffer ``border``, so whoever reads the weights reads the key bits of negative-positive.
        bias: Whether the plain convolution has a bias; the block stem always has one.

    Raises:
        BlockAlignmentError: The block size is no multiple of the stride.
        ConfigError: The block size is 1, the border is unknown, or the padding does not keep H / s and W / s.

    Example:
        >>> import torch
        >>> stem = BlockStem(in_channels=3, out_channels=8, kernel_size=7, stride=2, padding=3, block_size=4)
        >>> stem(torch.rand(1, 3, 32, 48)).shape
        torch.Size([1, 8, 16, 24])
    """

    border: Tensor | None
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        padding: int,
        block_size: int,
        border: str = 'grey',
        bias: bool = True,
    ) -> None:
        block_size = check_block_size(block_size)
        if block_size == 1:
            raise ConfigError('Expected blocks of several pixels for a block stem, but got `block_size` 1. Use 4.')
        if block_size % stride:
            raise BlockAlignmentError(
                f'Expected a block size that is a multiple of the stride {stride} of the first convolution, but got '
                f'{block_size}. Use `block_size` {round_to_blocks(block_size, stride)} for every cipher.'
            )
        if border not in BORDERS:
            raise ConfigError(
                f"Expected `border` of the block stem to be one of {BORDERS}, but got {border!r}. Use 'grey'."
            )
        if not -stride <= 2 * padding - kernel_size < 0:
            raise ConfigError(
                'Expected a first convolution whose output is its input divided by the stride, but got kernel size '
                f'{kernel_size}, stride {stride} and padding {padding}. Train this backbone with its own stem.'
            )
        self.grid = Grid(kernel_size, stride, padding, block_size)
        samples = in_channels * block_size**2
        super().__init__(samples, out_channels * self.grid.ratio**2, self.grid.blocks)
        self.plain_shape = (out_channels, in_channels, kernel_size, kernel_size)
        self.register_buffer('border', torch.zeros(samples) if border == 'exact' else None)
        for name in NORMALISATION:
            self.register_buffer(name, torch.full((in_channels,), CENTRE))
        self.plain_bias = bias
        self.absorber: StemKeyAbsorber | None = None
        """The normalisation and the key that plain weights absorb; None where they are not known."""
        self.lifted = False
        """Whether plain weights have been loaded."""

    @classmethod
    def replacing(
        cls, conv: nn.Conv2d, block_size: int, border: str = 'grey', absorber: StemKeyAbsorber | None = None
    ) -> BlockStem:
        """Return an untrained block stem of the sizes of a plain convolution.

        Args:
            conv: The plain convolution, which is left as it is.
            block_size: M, in pixels.
            border: ``'grey'`` or ``'exact'``, as of the class.
            absorber: The normalisation and the key that plain weights absorb as they are loaded.

        Raises:
            ConfigError: The convolution is not square, is grouped, dilated or not padded by zeros; or the cipher cannot
                be absorbed; or mean and std are of another number of channels.
            BlockAlignmentError: The block size is no multiple of the stride.
        """
        square = all(len(set(pair)) == 1 for pair in (conv.kernel_size, conv.stride, conv.padding))
        if not square or conv.groups != 1 or conv.dilation != (1, 1) or conv.padding_mode != 'zeros':
            raise ConfigError(
                'Expected a first convolution that is square, ungrouped, undilated and padded by zeros, but got '
                f'{conv}. Train this backbone with its own stem.'
            )
        sizes = (conv.kernel_size[0], conv.stride[0], cast(int, conv.padding[0]))
        stem = cls(conv.in_channels, conv.out_channels, *sizes, block_size, border, conv.bias is not None)
        stem.absorber = absorber
        if absorber is not None:
            channels = conv.in_channels
            if len(absorber.mean) not in (1, channels):
                raise ConfigError(
                    f'Expected mean and std of {channels} channels, as the first convolution has, but got '
                    f'{len(absorber.mean)}. Set them in model.data_preprocessor.'
                )
            stem.mean.copy_(absorber.mean)
            stem.std.copy_(absorber.std)
            absorber.transform(channels, block_size)  # raises for a cipher that cannot be absorbed, before any loading
            if stem.border is not None:
                stem.border.copy_(absorber.border(channels, block_size))
        return stem

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a batch of images.

        Args:
            x: Floating point (N, C, H, W), normalised by ``mean`` and ``std``; H and W are multiples of M. NaN, the
                padding of a batch, means the border.

        Returns:
            (N, O, H / s, W / s), of the dtype of the weights.

        Raises:
            BlockAlignmentError: H or W is no multiple of M.
        """
        m = self.grid.block_size
        check_whole_blocks(x, m)
        x, (weight, bias) = F.pixel_unshuffle(self.centred(x), m), self.absorbed()
        if self.border is not None:  # zeros around x - border mean the border around x
            x = x - self.border[:, None, None]
            bias = bias + weight.sum((2, 3)) @ self.border
        before, after = self.grid.before, self.grid.after
        x = F.pad(x.nan_to_num(0).to(weight.dtype), (before, after, before, after))
        x = F.conv2d(x, weight, bias)
        return F.pixel_shuffle(x, self.grid.ratio)

    def centred(self, x: Tensor) -> Tensor:
        """Turn images that are normalised by ``mean`` and ``std`` into images from -1 to 1."""
        return (x * self.std[:, None, None] + (self.mean[:, None, None] - CENTRE)) / CENTRE

    def normalised(self, x: Tensor) -> Tensor:
        """Invert :meth:`~mmseg_keyprotect.models.stem.block_stem.BlockStem.centred`."""
        return (x * CENTRE - (self.mean[:, None, None] - CENTRE)) / self.std[:, None, None]

    def absorbed(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the convolution on the grid of blocks."""
        return self.weight, cast(Tensor, self.bias)

    @torch.no_grad()
    def fused_with(self, norm: nn.BatchNorm2d) -> BlockStem:
        """Take the batch norm that follows into the weights, in place, as mmcv's ``fuse_conv_bn`` does.

        Args:
            norm: The batch norm, of O channels, with running statistics.

        Returns:
            The stem itself.
        """
        variance, mean = cast(Tensor, norm.running_var), cast(Tensor, norm.running_mean)
        factor = norm.weight / (variance + norm.eps).sqrt()
        bias = factor.new_zeros(len(factor)) if self.bias is None else self.bias
        copies = len(self.weight) // len(factor)  # output channels of the stem for each channel of the norm
        factor, mean, shift = (x.repeat_interleave(copies) for x in (factor, mean, norm.bias))
        bias = bias.repeat_interleave(len(factor) // len(bias))
        self.weight = nn.Parameter(self.weight * factor[:, None, None, None])
        self.bias = nn.Parameter((bias - mean) * factor + shift)
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        names = {name: f'{prefix}{name}' for name in ('weight', 'bias', 'border')}
        state_dict = self._with_normalisation(state_dict, prefix)
        weight = state_dict.get(names['weight'])
        if weight is not None and weight.shape == self.weight.shape:
            self._check_border(names['border'] in state_dict)
        elif weight is not None and weight.shape == self.plain_shape:
            state_dict = {**state_dict, **self._lift(weight, state_dict.get(names['bias']), names)}
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _lift(self, weight: Tensor, bias: Tensor | None, names: dict[str, str]) -> dict[str, Tensor]:
        """Return plain weights, lifted and with the key absorbed, under the names of the state dict."""
        if self.absorber is None:
            raise ConfigError(
                'Expected the weights of a block stem, but got those of a plain first convolution, and no mean, std '
                'and key to lift them with. Set model.type to KeyedEncoderDecoder, or bind the checkpoint with '
                '`keyprotect protect CONFIG CHECKPOINT`.'
            )
        self.lifted = True
        lifted_weight, lifted_bias = self.absorber.absorb(weight.to(self.weight), bias, self.grid)
        lifted = {names['weight']: lifted_weight}
        if bias is not None or not self.plain_bias:  # otherwise torch reports the bias as missing
            lifted[names['bias']] = lifted_bias
        if self.border is not None:
            lifted[names['border']] = self.absorber.border(self.plain_shape[1], self.grid.block_size)
        return lifted

    def _with_normalisation(self, state_dict: dict, prefix: str) -> dict:
        """Return a state dict with mean and std; plain checkpoints, and those of version 0.1, have none.

        Raises:
            ConfigError: It has another mean or std than the stem.
        """
        state_dict = dict(state_dict)
        for name in NORMALISATION:
            own = getattr(self, name)
            found = state_dict.get(f'{prefix}{name}', own)
            if own.is_meta:  # there is nothing yet to compare with
                continue
            state_dict[f'{prefix}{name}'] = own  # a checkpoint of 16 bits has rounded it
            if found.shape != own.shape or not torch.allclose(found.to(own), own, rtol=tolerance(found), atol=1e-3):
                raise ConfigError(
                    f'Expected a checkpoint for images normalised with {name} {own.tolist()}, as the configuration '
                    f'says, but got one for {name} {found.tolist()}. Set data_preprocessor.{name} to that.'
                )
        return state_dict

    def _check_border(self, found: bool) -> None:
        """Raise ConfigError unless a checkpoint with, or without, a border is of this stem's kind."""
        wanted = self.border is not None
        if found != wanted:
            raise ConfigError(
                f'Expected a checkpoint of a block stem with the border {BORDERS[wanted]!r}, but got one with '
                f'{BORDERS[found]!r}. Set model.block_stem=dict(border={BORDERS[found]!r}).'
            )

    def extra_repr(self) -> str:
        """Return the sizes of the plain convolution, the grid and the border."""
        out_channels, in_channels = self.plain_shape[:2]
        return f'{in_channels}, {out_channels}, {self.grid}, border={BORDERS[self.border is not None]!r}'
