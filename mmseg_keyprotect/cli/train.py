"""Train a model by MMSegmentation's own tools/train.py, with mmseg-keyprotect registered.

A config that holds a key is refused before anything logs it.
"""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import cfg_options
from mmseg_keyprotect.cli.mmseg_options import add_mmseg_arguments

EXAMPLE = '  keyprotect train protected.py --work-dir out'
AFTER_INTERRUPTION = 'continue with --resume'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of MMSegmentation's script."""
    add_mmseg_arguments(parser)
    parser.add_argument('--resume', action='store_true', help='continue from the latest checkpoint in the work dir')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')


def run(args: argparse.Namespace) -> None:
    """Train."""
    from mmseg_keyprotect.engine.mmseg_tools import run_mmseg_tool

    run_mmseg_tool('train', args.config, args.words[1:], cfg_options(args.cfg_options))
