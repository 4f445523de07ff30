"""What finished attacks found, kept on disk so that they are not run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.files import replace_file

STATE = 'reference.json'
"""What the correct key and no key get; its presence says that a folder is that of an audit."""


def make_folder(folder: Path, fingerprint: str) -> None:
    """Make the folder, unless it is that of an earlier run of this audit.

    Raises:
        ConfigError: It holds something else, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise ConfigError(
            f'Expected a folder to write to, but {folder}: {error.strerror}. Name another with -o.'
        ) from None
    if found and STATE not in found:
        raise ConfigError(
            f'Expected an empty folder, or that of an earlier audit, but {folder} holds {found[0]}. '
            'Name another with -o.'
        )
    if found and kept(folder / STATE, fingerprint) is None:
        raise ConfigError(
            f'Expected the folder of this audit, but {folder} is that of another: another configuration, checkpoint, '
            'key, data set, number of minutes or images, or other public weights. Name another with -o.'
        )


def kept(file: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read what was kept; None where there is nothing of this audit.

    Raises:
        ConfigError: The file is damaged.
    """
    if not file.exists():
        return None
    try:
        state = json.loads(file.read_text())
        return state['found'] if state['fingerprint'] == fingerprint else None
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'Expected what an attack found, but {file} is damaged: {type(error).__name__}. Delete it.'
        ) from None


def keep(file: Path, fingerprint: str, found: dict[str, Any]) -> dict[str, Any]:
    """Keep what was found, and return it."""
    replace_file(file, json.dumps(dict(fingerprint=fingerprint, found=found), indent=1) + '\n')
    return found
