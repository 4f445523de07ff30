"""The weights of a checkpoint as the marks and the records see them (docs/spec.md, section 12)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from mmseg_keyprotect.errors import CheckpointError


def hash_weights(state: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of a state dict, in lowercase hex. It does not depend on the file that holds the weights.

    Args:
        state: Tensors of any dtype, by name.

    Raises:
        CheckpointError: A tensor is sparse or has no values.

    Example:
        >>> import torch
        >>> hash_weights({'a': torch.zeros(2)}) == hash_weights({'a': torch.zeros(2)})
        True
    """
    digest = hashlib.sha256()
    for name in sorted(state, key=str.encode):
        _update(digest, name, state[name])
    return digest.hexdigest()


def marked_tensors(state: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the names of the tensors that carry a mark, in the order of the state dict.

    These are the floating tensors of two or more dimensions, the second of which is not 1, with a standard deviation
    that is finite and not 0. Depthwise convolutions carry none: they are few weights, and the output of a MobileNetV2
    reacts most to them. Tensors with equal contents, as tied ones have, count as one.

    Args:
        state: The plain weights, by name.

    Returns:
        For the first name of each tensor all names under which the state dict holds it, the first included.
    """
    found: dict[bytes, list[str]] = {}
    for name, tensor in state.items():
        if is_readable(tensor) and tensor.ndim >= 2 and tensor.shape[1] > 1 and 0 < deviation(tensor) < float('inf'):
            digest = hashlib.sha256()
            _update(digest, '', tensor)
            found.setdefault(digest.digest(), []).append(name)
    return {names[0]: names for names in found.values()}


def is_readable(tensor: Tensor) -> bool:
    """Tell whether a tensor is a dense floating tensor with values, as hostile files may have others."""
    return tensor.is_floating_point() and tensor.layout == torch.strided and tensor.device.type == 'cpu'


def deviation(tensor: Tensor) -> float:
    """Return the standard deviation over all entries of a floating tensor, computed in float64."""
    return float(tensor.detach().double().std(unbiased=False))


def _update(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    """Add the name, the dtype, the shape and the bytes of a tensor to a digest."""
    if tensor.layout != torch.strided or tensor.is_meta:
        raise CheckpointError(
            f'Expected dense weights, but {name or "a tensor"} is sparse or has no values. Save the weights as dense '
            'tensors.'
        )
    dtype = str(tensor.dtype).removeprefix('torch.')
    digest.update(f'{name}\n{dtype}\n{"x".join(map(str, tensor.shape))}\n'.encode())
    digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
