"""Where configuration files are. Neither mmengine nor MMSegmentation is imported: a wrong path is refused at once."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from mmseg_keyprotect.errors import MissingFileError

SCHEME = 'mmseg::'
"""In front of the name of a configuration of MMSegmentation itself."""


def mmseg_configs() -> Path:
    """Return the folder of MMSegmentation's own configurations; one that does not exist where it is not installed."""
    spec = find_spec('mmseg')
    return Path(spec.origin if spec and spec.origin else 'mmseg').resolve().parent / '.mim' / 'configs'


def config_file(source: str | Path) -> Path:
    """Return the path of a configuration file.

    Args:
        source: The path, or ``mmseg::NAME`` for one of MMSegmentation's own.

    Raises:
        MissingFileError: There is no such file. Where MMSegmentation has one of that name, the error says how it is
            written.
    """
    text = str(source)
    path = mmseg_configs() / text.removeprefix(SCHEME) if text.startswith(SCHEME) else Path(text)
    if path.is_file():
        return path
    found = sorted(mmseg_configs().rglob(path.name)) if path.suffix else []
    advice = 'Check the path.'
    if found:
        advice = f'MMSegmentation has it: write {SCHEME}{found[0].relative_to(mmseg_configs()).as_posix()}'
    raise MissingFileError(f'Expected a configuration file, but {text} does not exist. {advice}')
