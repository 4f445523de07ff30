"""The mark of a copy: a small keyed change of every weight, up or down (docs/spec.md, section 12).

For whoever is not the recipient the signs are independent of all that was done to the weights. So the chance of a hit
has a bound that holds for every attack (Hoeffding, 1963): ``P(z > x) <= exp(-x**2 / 2)``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from mmseg_keyprotect.ciphers.derivation import keystream
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.ownership.weights import deviation, marked_tensors

DEFAULT_STRENGTH = 0.001
"""The change of each weight, in standard deviations of its tensor."""

STRENGTHS = (1e-4, 0.1)
"""The least and the largest strength. Below, single precision rounds marks away; above, accuracy is lost."""

RECIPIENT = r'[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}'
"""The pattern of the name of a recipient."""


def check_recipient(name: str) -> str:
    """Return the name of a recipient.

    Raises:
        ConfigError: It is not 1 to 64 of the characters A-Z, a-z, 0-9 and ``._@+-``, or begins with one of the latter.
    """
    if not re.fullmatch(RECIPIENT, name):
        raise ConfigError(
            'Expected a recipient of 1 to 64 letters of A-Z and a-z, digits and ._@+-, that begins with a letter or a '
            f'digit, but got {name!r}. Choose another name.'
        )
    return name


def check_strength(strength: float) -> float:
    """Return a strength.

    Raises:
        ConfigError: It is out of range.
    """
    low, high = STRENGTHS
    if not low <= strength <= high:
        raise ConfigError(
            f'Expected a strength from {low:g} to {high:g}, in standard deviations of a tensor, but got {strength:g}. '
            f'Use {DEFAULT_STRENGTH:g}.'
        )
    return strength


def mark_signs(key: SecretKey, recipient: str, name: str, shape: Sequence[int]) -> np.ndarray:
    """Return the bits of a mark: 0 for the sign +1, 1 for the sign -1.

    Args:
        key: The owner's key.
        recipient: Who gets the copy.
        name: The name of the tensor in the plain state dict.
        shape: The shape of the tensor.

    Returns:
        uint8 (n,), n the number of entries in C order.
    """
    size = math.prod(shape)
    label = f'fingerprint/recipient={recipient}/tensor={name}/shape={"x".join(map(str, shape))}'
    stream = np.frombuffer(keystream(key, label)(-(-size // 8)), np.uint8)
    return np.unpackbits(stream, count=size, bitorder='little')


@torch.no_grad()
def mark_weights(
    state: Mapping[str, Tensor], key: SecretKey, recipient: str, strength: float = DEFAULT_STRENGTH
) -> dict[str, Tensor]:
    """Return the weights of a recipient's copy.

    Each weight moves up or down by ``strength`` standard deviations of its tensor. Tensors of half precision become
    float32, so that no mark is rounded away. Tied tensors stay tied.

    Args:
        state: The plain weights, by name. They stay as they are.
        key: The owner's key.
        recipient: Who gets the copy.
        strength: In standard deviations of a tensor, 0.0001 to 0.1.

    Raises:
        ConfigError: The name or the strength is not permitted, or no tensor can carry a mark.

    Example:
        >>> import torch
        >>> state = {'weight': torch.randn(8, 8), 'bias': torch.zeros(8)}
        >>> copy = mark_weights(state, SecretKey.generate(), 'acme')
        >>> 0 < (copy['weight'] - state['weight']).abs().max() < 0.01, torch.equal(copy['bias'], state['bias'])
        (tensor(True), True)
    """
    check_recipient(recipient)
    check_strength(strength)
    groups = marked_tensors(state)
    if not groups:
        raise ConfigError(
            'Expected weights of two or more dimensions that can carry a mark, but got none. Give the checkpoint of a '
            'trained model.'
        )
    copy = dict(state)
    for name, names in groups.items():
        tensor = state[name]
        bits = torch.from_numpy(mark_signs(key, recipient, name, tensor.shape)).reshape(tensor.shape)
        marked = tensor.double() + strength * deviation(tensor) * (1 - 2 * bits.double())
        marked = marked.to(torch.promote_types(tensor.dtype, torch.float32))
        copy.update(dict.fromkeys(names, marked))
    return copy
