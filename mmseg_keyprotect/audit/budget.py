"""The adversary's budget: how much time and how many training steps an attack may spend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names of the attacks are needed before torch is imported
    from mmseg_keyprotect.engine.progress import TaskProgress

STEPS = 200
"""The default limit of training steps."""


class Budget:
    """What an attack may spend; the time starts when the budget is made.

    Args:
        seconds: The time limit.
        progress: Shows the time that is spent; by default nothing is shown.
        steps: The limit of training steps, for attacks that train.

    Example:
        >>> budget = Budget(60.0)
        >>> budget.over
        False
    """

    def __init__(self, seconds: float, progress: TaskProgress | None = None, steps: int = STEPS) -> None:
        self.seconds, self.progress, self.steps = seconds, progress, steps
        self._start = time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def share(self) -> float:
        """The spent share of the time, 0 to 1."""
        return min(self.spent / self.seconds, 1.0) if self.seconds > 0 else 1.0

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.spent >= self.seconds

    def report(self, text: str) -> None:
        """Show the time that is spent, in seconds, and a text beside it."""
        if self.progress is not None:
            self.progress.reach(min(self.spent, self.seconds), text)
