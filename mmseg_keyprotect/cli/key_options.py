"""The arguments that name key files, data and overrides on a command line."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmengine.config import Config

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


def add_model(parser: argparse.ArgumentParser, what: str = 'protected config file') -> None:
    """Add the model that a command opens; read its configuration with `model_config`.

    Args:
        parser: The parser of the command.
        what: What the config is.
    """
    parser.add_argument('config', help=what)
    parser.add_argument('checkpoint', help='checkpoint of that config')
    add_key_file(parser)
    parser.add_argument('--data', metavar='DIR', help='folder of the data set, in place of data_root')


def add_tuning(parser: argparse.ArgumentParser, iterations: int, share: float, of: str) -> None:
    """Add the arguments of a fine-tuning.

    Args:
        parser: The parser of the command.
        iterations: The default number of iterations.
        share: The default share of images.
        of: What the share is of, for the help.
    """
    parser.add_argument('--iterations', type=int, default=iterations, metavar='N', help='default: %(default)s')
    parser.add_argument(
        '--lr-scale', type=float, default=0.2, metavar='X', help="times the config's learning rate; default: 0.2"
    )
    parser.add_argument('--share', type=float, default=share, metavar='X', help=f'{of}; default: %(default)s')


def add_launcher(parser: argparse.ArgumentParser) -> None:
    """Add ``--launcher``."""
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none', help='pytorch: under torchrun')


def model_config(args: argparse.Namespace) -> Config:
    """Return the configuration that a command line names, with its overrides, data folder and key file."""
    from mmseg_keyprotect.config.checks import refuse_leaks
    from mmseg_keyprotect.config.edit import set_key_file

    refuse_leaks(args.words)
    cfg = load(args.config, cfg_options(args.cfg_options), args.data)
    if args.key_file:
        set_key_file(cfg, args.key_file)
    return cfg


def load(config: str, options: dict[str, Any], data: str | None) -> Config:
    """Load a configuration, and apply the overrides and the data folder of the command line."""
    from mmseg_keyprotect.config.edit import override, set_data_root
    from mmseg_keyprotect.config.view import load_quietly

    cfg = load_quietly(config)
    override(cfg, options)
    if data:
        set_data_root(cfg, data)
    return cfg
