"""Which tensor of a suspect is which of the original, whatever prefixes and names it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from torch import Tensor

DEPTH = 3
"""Parts of a name that may be a prefix, at most."""


def counterparts(seen: Mapping[str, Tensor], known: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the name in ``seen`` for each name in ``known`` that has one.

    A prefix may be missing, added or replaced, such as ``module.``, ``model.`` or ``backbone.``. Names that are left
    over are paired in order, where as many on both sides have one shape.

    Args:
        seen: The suspect's tensors.
        known: The original's tensors. The shapes of a pair of the same name may differ.
    """
    pairs = max((_renamed(seen, known, *change) for change in _changes(seen, known)), key=len)
    used = set(pairs.values())
    left = {name: tensor for name, tensor in known.items() if name not in pairs}
    unused = _by_shape({name: tensor for name, tensor in seen.items() if name not in used})
    for shape, names in _by_shape(left).items():
        if len(names) == len(unused[shape]):
            pairs.update(zip(names, unused[shape], strict=True))
    return pairs


def _changes(seen: Iterable[str], known: Iterable[str]) -> list[tuple[str, str]]:
    """Return the prefixes to take off the suspect's names and to put before them, the least change first."""
    off, on = _prefixes(seen, DEPTH), _prefixes(known, DEPTH - 1)
    both = [(one, other) for one in _prefixes(seen, 1) for other in _prefixes(known, 1)]
    return [('', ''), *((one, '') for one in off), *(('', other) for other in on), *both]


def _prefixes(names: Iterable[str], depth: int) -> list[str]:
    found = {'.'.join(name.split('.')[:length]) + '.' for name in names for length in range(1, depth + 1)}
    return sorted(found, key=len)


def _renamed(seen: Mapping[str, Tensor], known: Mapping[str, Tensor], off: str, on: str) -> dict[str, str]:
    return {on + name[len(off) :]: name for name in seen if name.startswith(off) and (on + name[len(off) :]) in known}


def _by_shape(tensors: Mapping[str, Tensor]) -> dict[tuple[int, ...], list[str]]:
    found: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        found[tuple(tensor.shape)].append(name)
    return found
