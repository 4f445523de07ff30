"""The problems that the checks find, and how they are raised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from mmseg_keyprotect.errors import ConfigError, KeyProtectError

Problems: TypeAlias = Iterator[KeyProtectError]
"""What a check yields: one error for each problem."""


def raise_problems(problems: Sequence[KeyProtectError]) -> None:
    """Raise a single problem as it is, and several as one ConfigError that lists them all.

    Args:
        problems: The problems. None are raised where there are none.

    Raises:
        KeyProtectError: The only problem.
        ConfigError: There are several; ``problems`` of the error holds them.
    """
    if len(problems) == 1:
        raise problems[0]
    if problems:
        lines = [f'  {n}. {type(problem).__name__}: {problem}' for n, problem in enumerate(problems, 1)]
        message = f'Expected a sound configuration, but found {len(problems)} problems:'
        raise ConfigError('\n'.join([message, *lines]), tuple(problems))
