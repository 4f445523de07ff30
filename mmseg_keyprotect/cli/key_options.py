"""The arguments that name key files, data and overrides on a command line."""

from __future__ import annotations

import argparse
from typing import Any

KEY_FILE = 'key file; default: the one that the environment variable KEYPROTECT_KEY_FILE names'


def add_key_file(parser: argparse.ArgumentParser, text: str = KEY_FILE) -> None:
    """Add ``--key-file``."""
    parser.add_argument('--key-file', metavar='FILE', help=text)


def key_of(path: str | None) -> dict[str, str] | None:
    """Return the key's configuration for the path of a key file; None where none is named."""
    return dict(type='KeyFile', path=path) if path else None


def add_cfg_options(parser: argparse.ArgumentParser, text: str = 'override settings of the config') -> None:
    """Add ``--cfg-options``; read it with `cfg_options`."""
    parser.add_argument('--cfg-options', nargs='+', metavar='KEY=VALUE', default=[], help=text)


def cfg_options(words: list[str]) -> dict[str, Any]:
    """Return what ``--cfg-options`` says, read by mmengine as its own tools do."""
    from mmengine.config import DictAction

    parser = argparse.ArgumentParser(prog='keyprotect', add_help=False)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    return dict(parser.parse_args(['--cfg-options', *words] if words else []).cfg_options)
