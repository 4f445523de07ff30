"""The adversary's budget: how much time and how many training steps an attack may spend."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the names of the attacks are needed before torch is imported
    from mmseg_keyprotect.engine.progress import TaskProgress

STEPS = 200
"""The default limit of training steps."""

QUERIES = 500
"""The default number of crops that an attack may ask the running model about."""

RATES = 4
"""How many learning rates an audit lets each attack try that trains."""


class Budget:
    """What an attack may spend; the time starts when the budget is made.

    Args:
        seconds: The time limit.
        progress: Shows the time that is spent; by default nothing is shown.
        steps: The limit of training steps, for attacks that train.
        rates: How many learning rates these attacks try on images of their own; 1 takes those of the attack.
        queries: How many crops an attack may ask the running model about that trains on answers.

    Example:
        >>> budget = Budget(60.0)
        >>> budget.over
        False
    """

    def __init__(
        self,
        seconds: float,
        progress: TaskProgress | None = None,
        steps: int = STEPS,
        rates: int = 1,
        queries: int = QUERIES,
    ) -> None:
        self.seconds, self.progress = seconds, progress
        self.steps, self.rates, self.queries = steps, rates, queries
        self._start = time.monotonic()
        self._whole = self

    def part(self, share: float = 1.0, steps: int | None = None) -> Budget:
        """Return a budget that starts now and ends with this one at the latest.

        Args:
            share: The share of the whole time that it may use, at most.
            steps: Its limit of steps; by default that of this budget.
        """
        seconds = min(share * self.seconds, self.seconds - self.spent)
        part = Budget(max(seconds, 0.0), self.progress, self.steps if steps is None else steps, queries=self.queries)
        part._whole = self._whole
        return part

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
            self.progress.reach(min(self._whole.spent, self._whole.seconds), text)
