"""No key may stand in a configuration or on a command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmseg_keyprotect.config.checks.problems import Problems, raise_problems
from mmseg_keyprotect.config.view import walk
from mmseg_keyprotect.errors import LeakedKeyError
from mmseg_keyprotect.keys.line import KEY_LINE


def check_leaks(cfg: Mapping[str, Any], variables: Mapping[str, str]) -> Problems:
    """Neither the configuration itself nor an environment variable that it substitutes may hold a key.

    Args:
        cfg: The configuration, as a nested dict.
        variables: The environment variables that mmengine substituted, by name.
    """
    leaked = [name for name, value in variables.items() if KEY_LINE.search(str(value))]
    for name in leaked:
        yield LeakedKeyError(
            f'Expected no key in the configuration, but {{{{${name}:…}}}} has put one there. The configuration is '
            'written to logs, work_dir and checkpoints: treat this key as exposed, delete those files and make a new '
            f"key. Then name the variable instead: key=dict(type='EnvKey', name='{name}')."
        )
    for path, node in walk(cfg):
        if not leaked and isinstance(node, str) and KEY_LINE.search(node):
            yield LeakedKeyError(
                f'Expected no key in the configuration, but {path or "it"} holds one. The configuration is written to '
                'logs, work_dir and checkpoints: treat this key as exposed, delete those files and make a new key. '
                "Then give a path: key=dict(type='KeyFile', path='my.key')."
            )


def refuse_leaks(words: Sequence[str]) -> None:
    """Refuse a command line that holds a key.

    Raises:
        LeakedKeyError: A word of the command line holds a key.
    """
    raise_problems(list(check_leaks({'the command line': list(words)}, {})))
