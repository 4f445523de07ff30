"""A key for one benchmark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.providers import KEY_FILE_VARIABLE


@contextmanager
def temporary_key() -> Iterator[Path]:
    """Give the configurations a new key within the ``with`` block; the folder that is yielded holds it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'benchmark.key'
        SecretKey.generate().save(path)
        os.environ[KEY_FILE_VARIABLE] = str(path)
        yield Path(folder)
