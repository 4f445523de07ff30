"""Writing files so that nothing is half-written and nothing is overwritten."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from mmseg_keyprotect.errors import ConfigError


def write_new(path: str | Path, text: str) -> Path:
    """Write a new text file: it is there whole, or not at all.

    Args:
        path: The file to make; its folder must exist.
        text: What it will hold.

    Raises:
        ConfigError: The file exists, or its folder does not.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ConfigError(f'Expected the folder {path.parent} to exist, but it does not. Make it first.')
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.link(temporary, path)  # unlike a rename it fails where the file exists
    except FileExistsError:
        raise ConfigError(f'Expected a new file, but {path} exists and is never overwritten. Name another.') from None
    finally:
        os.unlink(temporary)
    return path
