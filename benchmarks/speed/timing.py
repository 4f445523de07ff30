"""Time and memory of alternatives. They take turns, so that noise of the machine affects all of them alike."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median, quantiles
from typing import Any


def take_turns(
    alternatives: Mapping[str, Callable[[], Any]], repeats: int, warm_up: bool = True
) -> dict[str, dict[str, float]]:
    """Time every alternative once in each turn.

    Each turn has another order, since whatever runs first leaves caches and memory in a state of its own.

    Args:
        alternatives: Functions to time, by name.
        repeats: Number of turns that count.
        warm_up: Whether there is a turn before them.

    Returns:
        For each name the median ``ms`` and the quartiles ``low`` and ``high``, in milliseconds.
    """
    names, order = list(alternatives), random.Random(0)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(0 if warm_up else 1, repeats + 1):
        order.shuffle(names)
        for name in names:
            start = time.perf_counter()
            alternatives[name]()
            if turn:
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: summary(values, 'ms', 4) for name, values in times.items()}


def summary(values: list[float], unit: str, digits: int) -> dict[str, float]:
    """Return the median, under the name of its unit, and the quartiles ``low`` and ``high``."""
    low, _, high = quantiles(values, n=4) if len(values) > 1 else values * 3
    return {unit: round(median(values), digits), 'low': round(low, digits), 'high': round(high, digits)}


def memory(name: str) -> float:
    """Return a memory size of this process, such as ``VmRSS`` or ``VmHWM``, in MiB; Linux only."""
    lines = Path('/proc/self/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f'{name}:')) / 1024


def begin_peak() -> None:
    """Reset the peak that ``VmHWM`` reports; Linux only."""
    Path('/proc/self/clear_refs').write_text('5')
