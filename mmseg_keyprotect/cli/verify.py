"""Read a whole sealed file with the key, and look for damage."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.seal_options import add_openers, opener
from mmseg_keyprotect.sealing import open_sealed

EXAMPLE = '  keyprotect verify sealed.pth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('checkpoint', help='the sealed file')
    add_openers(parser)


def run(args: argparse.Namespace) -> None:
    """Open the file, which verifies every chunk of it."""
    with open_sealed(args.checkpoint, **opener(args)) as reader:
        size = reader.raw.size
    print(f'untouched: {size} plain bytes')
