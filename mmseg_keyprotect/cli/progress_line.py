"""How far a command is, and the time left, in one line on stderr."""

from __future__ import annotations

import sys
import time

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal."""


class ProgressLine:
    """Shows how far the work is: on a terminal at once, elsewhere a line now and then.

    Args:
        what: What is counted, for example ``images``.
    """

    def __init__(self, what: str) -> None:
        self.what, self._start, self._shown = what, time.monotonic(), time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Show it."""
        now = time.monotonic()
        line = f'{done}/{total} {self.what}, {(now - self._start) / max(done, 1) * (total - done):.0f} s left'
        if sys.stderr.isatty():
            print(f'\r{line}   ', end='\n' if done == total else '', file=sys.stderr, flush=True)
        elif now - self._shown > LINE_EVERY:
            self._shown = now
            print(line, file=sys.stderr, flush=True)
