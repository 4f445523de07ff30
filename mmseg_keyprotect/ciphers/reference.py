"""The published reference implementation, bit for bit (docs/spec.md, section 7).

Source: the MIT-licensed ``fugokidi/block_transform`` of the authors of arXiv 2107.09362. It takes every key from a
32-bit seed. Use it only to run models that were trained with it.
"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np

from mmseg_keyprotect.ciphers.base import BlockCipher, log2_factorial
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError

KEY_ID = 'reference'
"""Stands where other ciphers have a key id: reference keys are seeds, not secret keys."""


def reference_permutation(samples: int, seed: int) -> np.ndarray:
    """``torch.manual_seed(seed); torch.randperm(n)``, without touching the global random state."""
    import torch

    return torch.randperm(samples, generator=torch.Generator().manual_seed(seed)).numpy()


def reference_table(password: str) -> np.ndarray:
    """The FFX table: ``pyffx.Integer(password, length=3)`` of 0 to 255."""
    try:
        import pyffx
    except ImportError:
        raise ImportError(
            'Expected pyffx for the FFX of the reference implementation, but it is not installed. '
            'Install it: pip install pyffx==0.3.0'
        ) from None
    integer = pyffx.Integer(password.encode(), length=3)
    return np.array([integer.encrypt(value) for value in range(256)])


class ReferenceCipher(BlockCipher):
    """SHF, NP or FFX exactly as the reference implementation computes them; at most 32 key bits.

    Args:
        transform: ``'SHF'``, ``'NP'`` or ``'FFX'``.
        block_size: M, in pixels.
        seed: 0 to 2**32 - 1, the published form of a key.
        password: Of the FFX table.
        channels: C; the published code knows 3.

    Raises:
        ConfigError: The transform or the seed is not one of the reference implementation's.
        ImportError: FFX without pyffx.
    """

    def __init__(
        self,
        transform: Literal['SHF', 'NP', 'FFX'],
        block_size: int,
        seed: int,
        password: str = 'password',
        channels: int = 3,
    ) -> None:
        super().__init__(block_size, KEY_ID, channels)
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ConfigError('Expected `seed` to be an integer from 0 to 2**32 - 1, but got something else.')
        warnings.warn(
            'ReferenceCipher takes its key from a 32-bit seed: every one of its keys can be enumerated. '
            'Use it only for models that were trained with the reference implementation.',
            stacklevel=2,
        )
        order = reference_permutation(self.samples, seed)
        keyed = order > self.samples / 2
        if transform == 'SHF':
            self.transform = BlockTransform(order)
        elif transform == 'NP':
            self.transform = BlockTransform.flip(keyed)
        elif transform == 'FFX':
            table = reference_table(password)
            self.transform = BlockTransform(keyed=keyed, table=table)
            self.max_value = int(table.max())
        else:
            raise ConfigError(f"Expected `transform` to be 'SHF', 'NP' or 'FFX', but got {transform!r}.")
        self.word = f'reference-{transform}'
        self.key_space_bits = min(32.0, log2_factorial(self.samples))
