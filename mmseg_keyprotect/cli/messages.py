"""How all commands report an error: what is wrong after ``error:``, what to do after ``hint:``."""

from __future__ import annotations

import re
import sys

from mmseg_keyprotect.errors import ConfigError, KeyProtectError

_HINT = re.compile(r'(?<=[.)])\s+(?=[A-Z`])')
"""A message says what was expected and what was got in its first sentence, and what to do in the others."""

_OF_A_WORKER = 'Original Traceback'
"""torch puts the traceback of a process that loads data into the message of the error."""


def report(error: Exception) -> None:
    """Print an error, or each of the problems that it lists, to stderr."""
    problems = error.problems if isinstance(error, ConfigError) and '\n' in str(error) else ()
    for problem in problems or (error,):
        what, hint = split(text_of(problem))
        print(f'error: {what}', file=sys.stderr)
        if hint:
            print(f'hint: {hint}', file=sys.stderr)


def text_of(error: Exception) -> str:
    """Return the message of an error, also of one from a process that loads data.

    Example:
        >>> text_of(FileNotFoundError(2, 'No such file or directory', 'a.png'))
        "Expected to read or write 'a.png', but: No such file or directory. Check the path, its permissions and the \
space on the disk."
    """
    text = str(error)
    if _OF_A_WORKER in text:
        text = text.strip().splitlines()[-1].partition(': ')[2]
    if isinstance(error, OSError) and not isinstance(error, KeyProtectError):
        where = repr(error.filename) if error.filename else 'a file'
        text = (
            f'Expected to read or write {where}, but: {error.strerror or text}. Check the path, its permissions and '
            'the space on the disk.'
        )
    return text


def split(text: str) -> tuple[str, str]:
    """Split a message into what is wrong and what to do; the second may be empty.

    Example:
        >>> split('Expected a file, but x does not exist. Check the path.')
        ('Expected a file, but x does not exist.', 'Check the path.')
    """
    if '\n' in text:
        return text, ''
    what, *rest = _HINT.split(text, maxsplit=1)
    return what, ' '.join(rest)
