"""The adversary's budget: how much time and how many training steps an attack may spend."""

from __future__ import annotations

import time

STEPS = 200
"""The default limit of training steps."""

REPORT_EVERY = 5.0
"""Seconds between two lines of progress."""


class Budget:
    """What an attack may spend; the time starts when the budget is made.

    Args:
        seconds: The time limit.
        name: The name of the attack, for lines of progress; None prints nothing.
        steps: The limit of training steps, for attacks that train.

    Example:
        >>> budget = Budget(60.0)
        >>> budget.over
        False
    """

    def __init__(self, seconds: float, name: str | None = None, steps: int = STEPS) -> None:
        self.seconds, self.name, self.steps = seconds, name, steps
        self._start = self._reported = time.monotonic()

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
        """Print a line of progress, at most one every few seconds."""
        if self.name and time.monotonic() - self._reported > REPORT_EVERY:
            self._reported = time.monotonic()
            print(f'  {self.name}: {self.spent:.0f} of {self.seconds:.0f} s, {text}', flush=True)
