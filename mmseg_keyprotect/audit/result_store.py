"""The findings of finished attacks, saved to disk so that these attacks are not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import DamagedFileError, OutputError
from mmseg_keyprotect.files import make_folder, replace_file

STATE = 'reference.json'
"""The reference accuracies; the presence of this file marks a folder as that of an audit."""


def prepare_folder(folder: Path, fingerprint: str) -> None:
    """Make the folder of an audit, or accept that of an earlier run of the same audit.

    Args:
        folder: The folder.
        fingerprint: Identifies everything that the results depend on.

    Raises:
        OutputError: It holds something else, or cannot be written.
        DamagedFileError: Its state is damaged.
    """
    found = make_folder(folder)
    if found and STATE not in found:
        raise OutputError(
            f'Expected an empty folder, or that of an earlier audit, but {folder} holds {found[0]}. '
            'Name another with -o.'
        )
    if found and load(folder / STATE, fingerprint) is None:
        raise OutputError(
            f'Expected the folder of this audit, but {folder} is that of another: another configuration, checkpoint, '
            'key, data set, number of minutes, images, steps, rates or queries, other public weights, or another own '
            'model. Name another with -o.'
        )


def load(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read a saved result; return None if there is none of this audit.

    Raises:
        DamagedFileError: The file is damaged.
    """
    if not file.exists():
        return None
    try:
        state = json.loads(file.read_text())
        return state['found'] if state['fingerprint'] == fingerprint else None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(
            f'Expected the result of an attack, but {file} is damaged: {type(error).__name__}. Delete it.'
        ) from None


def save(file: Path, fingerprint: str, found: dict[str, Any]) -> dict[str, Any]:
    """Save a result, plain JSON types, and return it."""
    replace_file(file, json.dumps(dict(fingerprint=fingerprint, found=found), indent=1) + '\n')
    return found
