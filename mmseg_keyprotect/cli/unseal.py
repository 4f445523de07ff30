"""Write the plain bytes of a sealed file, or a sealed folder, to disk again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmseg_keyprotect.cli.seal_options import add_openers, opener
from mmseg_keyprotect.sealing import unseal_file

EXAMPLE = '  keyprotect unseal sealed.pth -o model.pth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('checkpoint', help='the sealed file')
    parser.add_argument('-o', '--out', required=True, help='the file or folder to make')
    add_openers(parser)


def run(args: argparse.Namespace) -> None:
    """Write the plain bytes."""
    print('warning: whoever can read the new file has its contents, without any key', file=sys.stderr)
    unseal_file(args.checkpoint, args.out, **opener(args))
    print(f'plain {"folder" if Path(args.out).is_dir() else "file"}: {args.out}')
