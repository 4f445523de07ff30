"""Write the plain bytes of a sealed file, or a sealed folder, to disk again."""

from __future__ import annotations

import argparse
import sys

from mmseg_keyprotect.cli.seal_options import add_openers, opener
from mmseg_keyprotect.sealing import is_sealed_folder, unseal_file, unseal_folder

EXAMPLE = '  keyprotect unseal sealed.pth -o model.pth'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('checkpoint', help='the sealed file')
    parser.add_argument('-o', '--out', required=True, help='the file or folder to make')
    add_openers(parser)


def run(args: argparse.Namespace) -> None:
    """Write the plain bytes."""
    print('warning: whoever can read the new file has its contents, without any key', file=sys.stderr)
    given = opener(args)
    folder = is_sealed_folder(args.checkpoint, **given)
    (unseal_folder if folder else unseal_file)(args.checkpoint, args.out, **given)
    print(f'plain {"folder" if folder else "file"}: {args.out}')
