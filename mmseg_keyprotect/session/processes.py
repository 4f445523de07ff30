"""What one of several processes does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from mmseg_keyprotect.errors import KeyProtectError


def on_main_process(function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in the main process, and return its result, or raise its error, in every process.

    Args:
        function: The function.
        *args: Its arguments.

    Raises:
        KeyProtectError: The function raised it in the main process.
    """
    outcome: list[Any] = [None, None]
    if is_main_process():
        try:
            outcome[0] = function(*args)
        except KeyProtectError as error:
            outcome[1] = error
    broadcast_object_list(outcome)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]
