"""The published reference implementation, reproduced bit for bit (docs/spec.md, section 7).

Source: ``fugokidi/block_transform`` (MIT licence) by the authors of arXiv 2107.09362. It takes every key from a 32-bit
seed. Use it only to run models that were trained with it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mmseg_keyprotect.ciphers.base import BlockCipher, log2_factorial
from mmseg_keyprotect.ciphers.registry import register_cipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError, MissingDependencyError
from mmseg_keyprotect.keys import SecretKey

KEY_ID = 'reference'
"""The key id of every reference cipher, since its key is a seed and not a secret key."""


def reference_permutation(samples: int, seed: int) -> npt.NDArray[np.int64]:
    """Return ``torch.manual_seed(seed); torch.randperm(samples)`` without touching the global random state.

    Returns:
        int64 (samples,).

    Example:
        >>> reference_permutation(4, seed=42).tolist()
        [2, 3, 0, 1]
    """
    import torch

    order: npt.NDArray[np.int64] = torch.randperm(samples, generator=torch.Generator().manual_seed(seed)).numpy()
    return order


def reference_table(password: str) -> npt.NDArray[np.int64]:
    """Return the FFX table, ``pyffx.Integer(password, length=3)`` of 0 to 255, as int64 (256,).

    Raises:
        MissingDependencyError: pyffx is not installed.
    """
    try:
        pyffx = import_module('pyffx')
    except ImportError:
        raise MissingDependencyError(
            'Expected pyffx for the FFX of the reference implementation, but it is not installed. '
            'Install it: pip install pyffx==0.3.0'
        ) from None
    integer = pyffx.Integer(password.encode(), length=3)
    return np.array([integer.encrypt(value) for value in range(256)])


@register_cipher
class ReferenceCipher(BlockCipher):
    """SHF, NP or FFX exactly as the reference implementation computes them, with at most 32 key bits.

    Args:
        transform: ``'SHF'``, ``'NP'`` or ``'FFX'``.
        block_size: M, in pixels.
        seed: 0 to 2**32 - 1, the key of the reference implementation.
        password: The password of the FFX table.
        channels: C; the published code supports 3.

    Raises:
        ConfigError: The reference implementation has no such transform or seed.
        MissingDependencyError: FFX is asked for and pyffx is not installed.

    Example:
        >>> ReferenceCipher('SHF', block_size=4, seed=42).name
        'reference-SHF/M=4'
    """

    from_seed = True
    selectable = False

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
            raise ConfigError(
                'Expected `seed` to be an integer from 0 to 2**32 - 1, but got something else. Give that of the model.'
            )
        warnings.warn(
            'ReferenceCipher takes its key from a 32-bit seed, so that all of its keys can be enumerated. '
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
            raise ConfigError(f"Expected `transform` to be 'SHF', 'NP' or 'FFX', but got {transform!r}. Use one.")
        self.word = f'reference-{transform}'
        self.has_order, self.has_signs, self.has_table = (transform == word for word in ('SHF', 'NP', 'FFX'))
        self.key_space_bits = min(32.0, log2_factorial(self.samples))

    @classmethod
    def from_config(cls, parameters: Mapping[str, Any], key: SecretKey | None, channels: int) -> BlockCipher:
        """Build the cipher from its seed; the secret key is not used."""
        return cls(channels=channels, **parameters)

    @classmethod
    def rekeyed(cls, config: Mapping[str, Any], key: SecretKey) -> dict[str, Any]:
        """Return the configuration with a seed that is derived from the key."""
        return {**super().rekeyed(config, key), 'seed': int.from_bytes(key.derive('reference-seed', 4), 'little')}
