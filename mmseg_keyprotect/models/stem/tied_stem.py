"""The tied block stem, which learns exactly as the plain first convolution does."""

from __future__ import annotations

import copy
from typing import Any, NoReturn

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.errors import ConfigError, LeakedKeyError
from mmseg_keyprotect.models.stem.absorber import StemKeyAbsorber
from mmseg_keyprotect.models.stem.block_stem import BORDERS, NORMALISATION, BlockStem, tolerance

is_exporting = getattr(torch.compiler, 'is_exporting', lambda: False)
"""Whether ``torch.export`` traces the model; torch before 2.7 does not say."""


@MODELS.register_module()
class TiedBlockStem(BlockStem):
    """A block stem whose parameters are those of the plain convolution; they absorb the key in every forward pass.

    A free block stem has many more weights than the plain convolution, and its structural zeros may grow, so it learns
    something else. With a tied one, training on encrypted images equals training the plain model on plain images, step
    for step and with any optimizer. State dicts hold the absorbed weights, as those of
    :class:`~mmseg_keyprotect.models.stem.block_stem.BlockStem` do, so either kind loads those of the other.

    The arguments are those of BlockStem. A tied stem needs an absorber, so make it with
    :meth:`~mmseg_keyprotect.models.stem.block_stem.BlockStem.replacing`.

    Example:
        >>> import torch
        >>> from mmseg_keyprotect.models.stem.absorber import StemKeyAbsorber
        >>> absorber = StemKeyAbsorber(mean=torch.tensor([127.5]), std=torch.tensor([127.5]))
        >>> stem = TiedBlockStem.replacing(torch.nn.Conv2d(3, 8, 7, 2, 3), 4, absorber=absorber)
        >>> stem.weight.shape, stem.absorbed()[0].shape
        (torch.Size([8, 3, 7, 7]), torch.Size([32, 48, 3, 3]))
    """

    absorber: StemKeyAbsorber

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.absorbed_shape = tuple(self.weight.shape)
        out_channels, in_channels, size, _ = self.plain_shape
        # initialisers read these attributes
        self.out_channels, self.in_channels, self.kernel_size = out_channels, in_channels, (size, size)
        self.weight = nn.Parameter(torch.empty(self.plain_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if self.plain_bias else None
        self.reset_parameters()
        self._register_state_dict_hook(_write_absorbed)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a batch of images, as :meth:`~mmseg_keyprotect.models.stem.block_stem.BlockStem.forward` does.

        Raises:
            ConfigError: A program is made of the model, as far as torch says so: by torch.jit.trace, torch.export (not
                before torch 2.7), or torch.fx. It would hold the plain weights and the key.
        """
        tracing = torch.jit.is_tracing()  # type: ignore[attr-defined]
        if tracing or is_exporting() or isinstance(x, torch.fx.Proxy):
            raise ConfigError(
                'Expected a free block stem to trace or export, but got a tied one: the program would hold the plain '
                'weights and the key. Call untie() of the model first, or build it with '
                'model.block_stem=dict(tied=False) and load the same checkpoint.'
            )
        return super().forward(x)

    def untied(self) -> BlockStem:
        """Return a free block stem that computes the same, with weights that have absorbed the key."""
        _, in_channels, kernel_size, _ = self.plain_shape
        grid, border = self.grid, BORDERS[self.border is not None]
        sizes = (kernel_size, grid.stride, grid.padding, grid.block_size)
        free = BlockStem(in_channels, self.out_channels, *sizes, border, self.plain_bias).to(self.weight)
        free.absorber, free.lifted = self.absorber, self.lifted
        for name in NORMALISATION:
            getattr(free, name).copy_(getattr(self, name))
        free.load_state_dict(self.state_dict())
        free.requires_grad_(self.weight.requires_grad)
        return free.train(self.training)

    def absorbed(self) -> tuple[Tensor, Tensor]:
        """Return the weight and the bias of the convolution on the grid of blocks, with the key absorbed."""
        return self.absorber.absorb(self.weight, self.bias, self.grid)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        names = {name: f'{prefix}{name}' for name in ('weight', 'bias', 'border')}
        state_dict = self._with_normalisation(state_dict, prefix)
        weight, bias = state_dict.get(names['weight']), state_dict.get(names['bias'])
        if weight is not None and weight.shape == self.absorbed_shape and bias is not None:
            self._check_border(names['border'] in state_dict)
            plain, plain_bias = self.absorber.release(weight, bias, self.plain_shape, self.grid)
            again = self.absorber.absorb(plain, plain_bias, self.grid)[0]
            if not torch.allclose(
                again, weight.to(again), rtol=tolerance(weight), atol=1e-4 * float(weight.abs().max())
            ):
                raise ConfigError(
                    'Expected the weights of a tied block stem, but got those of one that was trained free, whose '
                    'weights are no longer those of a plain convolution. Set model.block_stem=dict(tied=False).'
                )
            state_dict = {**state_dict, names['weight']: plain, names['bias']: plain_bias}
        elif weight is not None and weight.shape == self.plain_shape:
            self.lifted = True
            if self.border is not None:
                border = self.absorber.border(self.plain_shape[1], self.grid.block_size)
                state_dict = {**state_dict, names['border']: border}
        if self.bias is None:
            state_dict = {name: value for name, value in state_dict.items() if name != names['bias']}
        nn.Conv2d._load_from_state_dict(self, state_dict, prefix, *args)

    def __deepcopy__(self, memo: dict) -> TiedBlockStem:
        other = self.__new__(type(self))
        memo[id(self)] = other
        other.__dict__ = copy.deepcopy(self.__dict__, memo)
        return other

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise LeakedKeyError(
            'Expected a model with a tied block stem never to be pickled, since its parameters are those of the plain '
            'model, but got a request to pickle it. Save its state dict, or call untie() of the model first.'
        )


def _write_absorbed(stem: TiedBlockStem, state_dict: dict, prefix: str, local_metadata: Any) -> None:
    """Write the absorbed weights of a tied stem into a state dict, in the place of the plain ones."""
    if 'weight' not in stem._parameters:
        raise ConfigError(
            'Expected the weight of a tied block stem as a parameter, but got one that is pruned by a mask or '
            'parametrised: a state dict would hold the plain weights beside it. Make it permanent first, by '
            'torch.nn.utils.prune.remove or parametrize.remove_parametrizations.'
        )
    with torch.no_grad():
        bias = None if stem.bias is None else _whole(stem.bias)
        weight, bias = stem.absorber.absorb(_whole(stem.weight), bias, stem.grid)
    state_dict[f'{prefix}weight'], state_dict[f'{prefix}bias'] = weight, bias


def _whole(parameter: Tensor) -> Tensor:
    """Gather a parameter of which FSDP keeps a part in each process."""
    whole: Tensor = parameter.full_tensor() if hasattr(parameter, 'full_tensor') else parameter
    return whole
