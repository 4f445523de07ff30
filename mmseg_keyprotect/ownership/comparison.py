"""How far the weights of a suspect are from those of the original, tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mmseg_keyprotect.errors import CheckpointError
from mmseg_keyprotect.ownership.alignment import NEAR, Aligned, Aligner
from mmseg_keyprotect.ownership.counterparts import counterparts
from mmseg_keyprotect.ownership.stems import plain_stem
from mmseg_keyprotect.ownership.weights import deviation, is_readable, marked_tensors

LEAST_SHARE = 0.1
"""A suspect in which fewer of the original's weights than this share have a place is of another architecture."""

LIKE = 0.5
"""The likeness of a tensor that counts as aligned, where there was no search."""

LEAST_WEIGHTS = 32
"""Weights of a channel, at least, for a search for the order of channels to show anything."""

CLIP = 3
"""Deviations are clipped at this many median absolute deviations."""

FLOOR = 1e-4
"""The least median absolute deviation that counts, in standard deviations of the tensor."""


@dataclass(frozen=True)
class Compared:
    """One tensor of a suspect beside that of the original.

    Args:
        name: The name of the tensor in the original.
        shape: The shape of the tensor in the original.
        weighed: float32 (n,): the deviations from the original, clipped and weighed by their variance.
        aligned: Whether the tensor is more like the original than chance makes it.
        inherited: Whether the ancestor has this tensor, so that likeness shows nothing about the original.
    """

    name: str
    shape: tuple[int, ...]
    weighed: np.ndarray
    aligned: bool
    inherited: bool


@torch.no_grad()
def compare(
    suspect: Mapping[str, Tensor], original: Mapping[str, Tensor], ancestor: Mapping[str, Tensor] | None = None
) -> list[Compared]:
    """Compare all weights of a suspect that have a counterpart among the marked tensors of the original.

    Args:
        suspect: The suspect's state dict. Names may have other prefixes, and channels another order.
        original: The plain weights.
        ancestor: The public weights that the original was fine-tuned from.

    Returns:
        One for each tensor, in the order of the original.

    Raises:
        CheckpointError: The suspect is of another architecture.
    """
    known = {name: original[name] for name in marked_tensors(original)}
    seen = {name: tensor for name, tensor in suspect.items() if is_readable(tensor) and tensor.ndim >= 2}
    pairs = _tensors(seen, suspect, known)
    share = sum(known[name].numel() for name in pairs) / max(1, sum(tensor.numel() for tensor in known.values()))
    if share < LEAST_SHARE:
        raise CheckpointError(
            f'Expected a suspect of the architecture of the original, but only {share:.0%} of its weights have a '
            'place in the suspect. Give the original that the suspect may derive from.'
        )
    public = {} if ancestor is None else _tensors(ancestor, ancestor, known)  # which have a counterpart there
    aligner = Aligner()
    found = {name: aligner.align(_matrix(tensor), _matrix(known[name])) for name, tensor in pairs.items()}
    if aligner.orders:  # tensors that are not aligned yet get the orders that later ones have revealed
        for name in [name for name, one in found.items() if one.likeness < NEAR]:
            found[name] = aligner.align(_matrix(pairs[name]), _matrix(known[name]))
    return [_compared(name, known[name], pairs[name], found[name], name in public) for name in pairs]


def _tensors(seen: Mapping[str, Tensor], state: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the counterparts of the original's tensors, of the same shapes; block stems as plain convolutions."""
    found: dict[str, Tensor] = {}
    for name, other in counterparts(seen, known).items():
        tensor: Tensor | None = seen[other]
        if tensor is not None and tensor.shape != known[name].shape:
            tensor = plain_stem(state, other, known[name])
        if tensor is not None:
            found[name] = tensor
    return {name: found[name] for name in known if name in found}


def _compared(name: str, known: Tensor, seen: Tensor, found: Aligned, inherited: bool) -> Compared:
    """Weigh the deviations of one tensor, and tell whether it is aligned."""
    wanted = _matrix(known)
    deviations = (found.values - wanted).ravel() / deviation(known)
    deviations[found.values.ravel() == 0] = 0  # pruned weights tell nothing
    typical = max(float(np.median(abs(deviations[deviations != 0]))) if deviations.any() else 0.0, FLOOR)
    weighed = np.clip(deviations, -CLIP * typical, CLIP * typical) / typical**2
    aligned = _is_like(found, _matrix(seen), wanted)
    return Compared(name, tuple(known.shape), weighed.astype(np.float32), aligned, inherited)


def _is_like(found: Aligned, seen: np.ndarray, known: np.ndarray) -> bool:
    """Tell whether a tensor is more like the original than the same search makes it like shuffled values."""
    if not found.searched or found.likeness < LIKE:
        return found.likeness >= LIKE
    if min(known[0].size, known[:, 0].size) < LEAST_WEIGHTS:  # by chance some channel is like any other
        return False
    shuffled = np.random.default_rng(0).permutation(known.ravel()).reshape(known.shape)
    chance = max(0.0, Aligner().align(seen, shuffled).likeness)
    return found.likeness >= chance + LIKE * (1 - chance)


def _matrix(tensor: Tensor) -> np.ndarray:
    """Return float64 (R, C, K), finite: output channels, input channels, and what is behind them."""
    values = tensor.detach().double().nan_to_num(0, 0, 0)
    while values.ndim > 1 and len(values) == 1:  # a batch dimension, as of position embeddings
        values = values[0]
    return values.reshape(len(values), values.shape[1] if values.ndim > 1 else 1, -1).numpy()
