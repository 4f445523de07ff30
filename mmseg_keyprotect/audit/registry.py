"""A table of attacks whose classes are imported on first use, so that listing the names loads nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from mmseg_keyprotect.audit.attack import Attack

AttackClass = TypeVar('AttackClass', bound='type[Attack]')


class AttackRegistry(Mapping[str, 'type[Attack]']):
    """Attacks by name.

    Args:
        places: ``module:Class`` by the name of the attack.
        package: The package of the modules.

    Example:
        >>> from mmseg_keyprotect.audit.attacks import ATTACKS
        >>> 'known-pairs' in ATTACKS
        True
    """

    def __init__(self, places: Mapping[str, str], package: str) -> None:
        self._places: dict[str, str | type[Attack]] = dict(places)
        self._package = package

    def __getitem__(self, name: str) -> type[Attack]:
        place = self._places[name]
        if isinstance(place, str):
            module, _, attack = place.partition(':')
            place = self._places[name] = getattr(import_module(f'{self._package}.{module}'), attack)
        return place

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def register(self, attack: AttackClass) -> AttackClass:
        """Add an attack under its name, and return it.

        Raises:
            ValueError: Another attack has that name.
        """
        if attack.name in self._places:
            raise ValueError(
                f'Expected a new name for an attack, but got {attack.name!r}, which is registered. Choose another name.'
            )
        self._places[attack.name] = attack
        return attack
