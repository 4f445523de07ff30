"""The arguments of the commands for marks and records of copies."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.keys.providers import KEY_FILE_VARIABLE


def add_records(parser: argparse._ActionsContainer) -> None:
    """Add ``--records``; read it with `records_of`."""
    parser.add_argument(
        '--records', metavar='DIR', help="folder of the records of copies; default: the owner's key file + .records"
    )


def records_of(records: str | None, key_file: str | None) -> Path:
    """Return the folder of the records, by default beside the owner's key file.

    Raises:
        UsageError: Neither the folder nor the key file is named.
    """
    beside = key_file or os.environ.get(KEY_FILE_VARIABLE)
    if not (records or beside):
        raise UsageError('--records or a key file is needed')
    return Path(records or f'{beside}.records').expanduser()
