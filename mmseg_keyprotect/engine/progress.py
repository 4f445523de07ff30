"""Show how far a long task is, and the time that is left."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY = 30.0
"""Seconds between two lines where there is no terminal for a bar, at least."""

LINES = 20
"""About as many lines a task prints at most, however long it takes."""


class TaskProgress:
    """A bar on a terminal; elsewhere a line now and then, on stderr. Use it in a ``with`` block.

    Args:
        what: What is done, for example ``training``.
        total: How many steps there are.
        done: How many are done already.
        shown: Whether anything is shown: of several processes, one shows it.

    Example:
        >>> with TaskProgress('testing', 3, shown=False) as progress:
        ...     for _ in range(3):
        ...         progress.advance()
        >>> progress.done
        3
    """

    def __init__(self, what: str, total: float, done: int = 0, shown: bool = True) -> None:
        self.what, self.total, self.shown = what, total, shown
        self.done: float = done
        self._told: float = done
        self._console = Console(stderr=True)
        self._start = self._printed = time.monotonic()
        self._first: float = done
        self._begun = False
        columns = ('{task.description}', '{task.percentage:3.0f}%')
        self._bar = Progress(
            *map(TextColumn, columns),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn('{task.fields[note]}'),
            console=self._console,
            disable=not (shown and self._console.is_terminal),
        )
        self._task = self._bar.add_task(what, total=total, completed=done, note='')

    def __enter__(self) -> TaskProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, note: str = '') -> None:
        """Count a step, and show a note beside it."""
        self.reach(self.done + 1, note)

    def reach(self, done: float, note: str = '') -> None:
        """Show that so many steps are done, and a note beside them."""
        begins, self._begun, self.done = not self._begun, True, done
        self._bar.update(self._task, completed=done, note=note)
        now = time.monotonic()
        if begins:  # what came before the first step was preparation
            self._start, self._first = now, done
        far = now - self._printed >= LINE_EVERY and done - self._told >= self.total / LINES
        due = begins or done >= self.total or far
        if self.shown and not self._console.is_terminal and due:
            self._printed, self._told = now, done
            line = f'{self.what}: {done:.0f}/{self.total:.0f}{self._left(now)}{note and f", {note}"}'
            print(line, file=self._console.file, flush=True)

    def _left(self, now: float) -> str:
        """Return the time that is left, from the steps of this run."""
        if not self._first < self.done < self.total:
            return ''
        seconds = (now - self._start) / (self.done - self._first) * (self.total - self.done)
        return f', {seconds / 60:.0f} min left' if seconds >= 120 else f', {seconds:.0f} s left'
