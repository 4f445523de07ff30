"""What every attack is: what it needs, what it may spend, what it gives back."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from torch import nn

from mmseg_keyprotect.ciphers.transform import BlockTransform

if TYPE_CHECKING:
    from mmseg_keyprotect.audit.target import Target

NEEDS = ('weights', 'encrypted images', 'plain images', 'pairs', 'labels', 'encryptor')
"""What an attacker may be assumed to have; cipher, block size and this program are known to everybody."""

STEPS = 200
"""How many steps of training, at most, by default."""

SAY_EVERY = 5.0
"""Seconds between two words of progress."""


class Budget:
    """What an attack may spend.

    Args:
        seconds: From now on.
        name: Of the attack, for progress; None: silent.
        steps: Of training, for those that train.
    """

    def __init__(self, seconds: float, name: str | None = None, steps: int = STEPS) -> None:
        self.seconds, self.name, self.steps = seconds, name, steps
        self._start = self._said = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def share(self) -> float:
        """The part of the time that is gone, 0 to 1."""
        return min(self.spent / self.seconds, 1.0) if self.seconds > 0 else 1.0

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.spent >= self.seconds

    def say(self, text: str) -> None:
        """Print how far the attack is, now and then."""
        if self.name and time.monotonic() - self._said > SAY_EVERY:
            self._said = time.monotonic()
            print(f'  {self.name}: {self.spent:.0f} of {self.seconds:.0f} s, {text}', flush=True)


@dataclass
class AttackResult:
    """What an attacker has in the end.

    Args:
        sentence: What was found, in words; it never holds any part of a key.
        key: His estimate of the key of images, for RGB; None where he looks for none.
        features: His estimate of the transforms of channels, by the name of the place; None where he looks for none.
        model: A model of his own that takes plain images; it is what he is measured by where there is one.
        images: How many images he used.
        queries: How many images he had encrypted.
    """

    sentence: str
    key: BlockTransform | None = field(default=None, repr=False)  # it may be the key, so nothing prints it
    features: Mapping[str, BlockTransform] | None = field(default=None, repr=False)
    model: nn.Module | None = field(default=None, repr=False)
    images: int = 0
    queries: int = 0


class Attack(ABC):
    """One way to use a protected model without its key.

    An attack is one file with one subclass, and one line in :data:`mmseg_keyprotect.audit.attacks.ATTACKS`.
    """

    name: ClassVar[str]
    """The word for it, on the command line and in reports."""

    needs: ClassVar[tuple[str, ...]]
    """What the attacker has, out of :data:`NEEDS`; ``run`` uses nothing else of the target."""

    seeks: ClassVar[str | None] = 'images'
    """Whose key it looks for, that of ``'images'`` or of ``'feature maps'``; None: it does without any."""

    def refusal(self, target: Target) -> str | None:
        """Return why the attack has nothing to do on this target, or None."""
        return None

    @abstractmethod
    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Attack.

        Args:
            target: What is attacked.
            budget: The time to keep to; what was found by then is returned.
        """
