"""The interface of attacks: what an attack needs, how it runs, and what it returns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.ciphers.transform import BlockTransform

if TYPE_CHECKING:
    from mmseg.models.segmentors import BaseSegmentor

    from mmseg_keyprotect.audit.target import Target
    from mmseg_keyprotect.audit.view import View

ANSWERS = ('masks of plain images', 'scores of plain images')
"""What the running model with the correct key may answer."""

NEEDS = (
    'weights',
    'masks',
    *ANSWERS,
    'encrypted images',
    'plain images',
    'pairs',
    'labels',
    'encryptor',
    'public weights',
)
"""What an attacker may have. Everybody knows the cipher, the block size, the encrypted places and this program."""


class NotApplicable(Exception):
    """An attack has nothing to do on a target.

    Args:
        reason: The reason, as the end of a sentence, for example ``images are not encrypted``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class AttackResult:
    """What an attacker has in the end.

    Args:
        sentence: The result in words; it never holds any part of a key.
        key: The estimate of the key of images, for RGB blocks; None if the attack estimates none.
        features: The estimates of the transforms of channels, by the name of the place; None if there are none.
        model: The attacker's own model, which takes plain images. Where there is one, the accuracy is measured with it.
        pictures: What the attacker takes for the plain form of the encrypted images, uint8 (H, W, C) each; None if the
            attack makes no pictures.
        images: The number of images that the attacker used.
        queries: The number of images that the attacker had encrypted, or asked the running model about.
        stopped: What the attack had done when the budget ended it, for example ``4 of 200 steps``; empty if it came to
            its end. None leaves it to the clock: an attack that uses up its time was stopped.
    """

    sentence: str
    key: BlockTransform | None = field(default=None, repr=False)  # it may equal the key, so it is never printed
    features: Mapping[str, BlockTransform] | None = field(default=None, repr=False)
    model: BaseSegmentor | None = field(default=None, repr=False)
    pictures: list[np.ndarray] | None = field(default=None, repr=False)
    images: int = 0
    queries: int = 0
    stopped: str | None = None


class Attack(ABC):
    """One way to use a protected model without its key.

    A new attack is one file with a subclass, and one line in :data:`~mmseg_keyprotect.audit.attacks.ATTACKS` or the
    decorator :func:`~mmseg_keyprotect.audit.attacks.register_attack`.

    Example:
        >>> from mmseg_keyprotect.audit.attacks import register_attack
        >>> @register_attack                                                       # doctest: +SKIP
        ... class CountBlocks(Attack):
        ...     '''Count the blocks of the encrypted images; it recovers nothing.'''
        ...
        ...     name = 'count-blocks'
        ...     needs = ('encrypted images',)
        ...
        ...     def run(self, view, budget):
        ...         blocks = len(view.cipher_info.blocks(view.encrypted))
        ...         return AttackResult(f'{blocks} blocks.', images=len(view.encrypted))
    """

    name: ClassVar[str]
    """The name on the command line and in reports."""

    needs: ClassVar[tuple[str, ...]]
    """What the attacker must have, out of :data:`~mmseg_keyprotect.audit.attack.NEEDS`."""

    uses: ClassVar[tuple[str, ...]] = ()
    """What the attack also uses if the attacker has it, out of the same."""

    seeks: ClassVar[str | None] = 'images'
    """Which key the attack estimates, ``'images'`` or ``'feature maps'``; None if it works without any."""

    def attack(self, target: Target, budget: Budget) -> AttackResult:
        """Run the attack with what it declares, and nothing else.

        Raises:
            NotApplicable: The target lacks what the attack needs or seeks, or the attack cannot do anything with it.
        """
        target.require_key(self.seeks)
        return self.run(target.view(self.needs, self.uses), budget)

    @abstractmethod
    def run(self, view: View, budget: Budget) -> AttackResult:
        """Attack.

        Args:
            view: What the attacker has of the target: ``needs``, and of ``uses`` what there is.
            budget: The limits to keep. When the time is up, the attack returns what it has found so far.

        Raises:
            NotApplicable: The attack cannot do anything with this target.
        """
