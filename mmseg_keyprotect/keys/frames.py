"""Keep secrets out of tracebacks that show local variables, as those of rich and of error trackers do."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec('_P')
_R = TypeVar('_R')


def without_locals(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Wrap a function that handles secrets: an exception that leaves it carries no local variables of its frames.

    Frames of the callers keep theirs: who reads a passphrase into a variable of their own has it there.

    Args:
        function: A function whose arguments or local variables hold a key line, a passphrase or key material.

    Example:
        >>> import traceback
        >>> @without_locals
        ... def refuse(passphrase):
        ...     raise ValueError('Expected another passphrase.')
        >>> try:
        ...     refuse('correct' + ' horse')
        ... except ValueError as error:
        ...     shown = ''.join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
        >>> 'correct horse' in shown
        False
    """

    @functools.wraps(function)
    def wrapper(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        handled = sys.exc_info()[1]
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            args, kwargs = (), {}  # type: ignore[assignment]
            passing: BaseException | None = error
            while passing is not None and passing is not handled:  # the caller may be handling another error
                traceback.clear_frames(passing.__traceback__)
                passing = passing.__context__
            raise

    return wrapper
