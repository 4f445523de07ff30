"""The scripts of ``tools/``, for ``mim run mmseg_keyprotect NAME`` and ``python tools/NAME.py``."""

from __future__ import annotations

import sys
from typing import NoReturn

from mmseg_keyprotect.cli.main import main

FORMER = {
    'evaluate_access': 'evaluate',
    'inspect_sealed': 'inspect',  # a script inspect.py would hide Python's own module from all others
    'protect_checkpoint': 'protect',
    'protect_config': 'protect',
    'rekey_checkpoint': 'rekey',
}
"""Scripts whose name is not that of their command."""

SEALING = {'info': ['inspect'], 'add': ['recipients', 'add'], 'remove': ['recipients', 'remove']}
"""The first word of ``seal_checkpoint.py``, where it is not that of the command."""


def run_script(name: str) -> NoReturn:
    """Run the command behind ``tools/NAME.py`` on the command line of this process, and exit.

    Args:
        name: Of the script, without ``.py``.
    """
    words = sys.argv[1:]
    if name == 'seal_checkpoint':
        sys.exit(main(SEALING.get(words[0], words[:1]) + words[1:] if words else ['seal']))
    sys.exit(main([FORMER.get(name, name), *words]))
