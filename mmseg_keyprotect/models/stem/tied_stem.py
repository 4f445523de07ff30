"""A block stem that learns exactly as the plain first convolution does."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.registry import MODELS
from torch import Tensor, nn

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.stem.block_stem import BlockStem


@MODELS.register_module()
class TiedBlockStem(BlockStem):
    """A block stem whose parameters are those of the plain convolution; they absorb the key at every step.

    A free block stem has many more weights than the plain convolution, zeros that may grow among them, so it learns
    otherwise. With this one, training on encrypted images is training the plain model on plain ones, step for step,
    whatever the optimizer. State dicts hold the absorbed weights, as those of BlockStem do: the two load each other's.
    The arguments are those of BlockStem; :meth:`BlockStem.replacing` sets the ``plain_input`` that it needs.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.absorbed_shape = tuple(self.weight.shape)
        out_channels, in_channels, size, _ = self.plain_shape
        # what initialisers look at
        self.out_channels, self.in_channels, self.kernel_size = out_channels, in_channels, (size, size)
        self.weight = nn.Parameter(torch.empty(self.plain_shape))
        self.bias = nn.Parameter(torch.empty(out_channels)) if self.plain_bias else None
        self.reset_parameters()
        self._register_state_dict_hook(_write_absorbed)

    def absorbed(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias on the grid of blocks, with the key absorbed."""
        return self.plain_input.absorb(self.weight, self.bias, self.grid)

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any) -> None:
        names = {name: f'{prefix}{name}' for name in ('weight', 'bias', 'border')}
        weight, bias = state_dict.get(names['weight']), state_dict.get(names['bias'])
        if weight is not None and weight.shape == self.absorbed_shape and bias is not None:
            self._check_border(names['border'] in state_dict)
            plain, plain_bias = self.plain_input.release(weight, bias, self.plain_shape, self.grid)
            again = self.plain_input.absorb(plain, plain_bias, self.grid)[0]
            if not torch.allclose(again, weight.to(again), rtol=1e-3, atol=1e-4 * float(weight.abs().max())):
                raise ConfigError(
                    'Expected the weights of a tied block stem, but got those of one that was trained free, whose '
                    'weights are no longer those of a plain convolution. Set model.block_stem=dict(tied=False).'
                )
            state_dict = {**state_dict, names['weight']: plain, names['bias']: plain_bias}
        elif weight is not None and weight.shape == self.plain_shape:
            self.lifted = True
            if self.border is not None:
                border = self.plain_input.border(self.plain_shape[1], self.grid.block_size)
                state_dict = {**state_dict, names['border']: border}
        if self.bias is None:
            state_dict = {name: value for name, value in state_dict.items() if name != names['bias']}
        nn.Conv2d._load_from_state_dict(self, state_dict, prefix, *args)


def _write_absorbed(stem: TiedBlockStem, state_dict: dict, prefix: str, local_metadata: Any) -> None:
    with torch.no_grad():
        weight, bias = stem.absorbed()
    state_dict[f'{prefix}weight'], state_dict[f'{prefix}bias'] = weight, bias
