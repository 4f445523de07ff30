"""Test a model by MMSegmentation's own tools/test.py, with mmseg-keyprotect registered."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import cfg_options
from mmseg_keyprotect.cli.mmseg_options import add_mmseg_arguments

EXAMPLE = '  keyprotect test protected.py out/iter_20000.pth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of MMSegmentation's script."""
    add_mmseg_arguments(parser)
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('--out', metavar='DIR', help='folder for the predictions')
    parser.add_argument('--show', action='store_true', help='show the predictions in a window')
    parser.add_argument('--show-dir', metavar='DIR', help='folder for painted predictions')
    parser.add_argument('--wait-time', type=float, default=2, help='seconds that --show shows each; default: 2')
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')


def run(args: argparse.Namespace) -> None:
    """Test."""
    from mmseg_keyprotect.engine.mmseg_tools import run_mmseg_tool

    run_mmseg_tool('test', args.config, args.words[1:], cfg_options(args.cfg_options))
