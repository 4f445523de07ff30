"""Make a protected config out of any MMSegmentation config."""

from __future__ import annotations

import argparse
import sys

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.cipher_arguments import add_cipher_arguments, cipher_of, features_of
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.protection import protect_config


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or mmseg::... for one of MMSegmentation')
    add_cipher_arguments(parser, features=True)
    parser.add_argument(
        '--stem',
        nargs='?',
        choices=['grey', 'exact'],
        const='grey',
        help='give the model a block stem, so that pretrained weights lose nothing; its border, default: grey',
    )
    parser.add_argument('--key-file', help='written into the config; default: KEYPROTECT_KEY_FILE at run time')
    parser.add_argument('-o', '--out', required=True, help='the config file to make')
    return parser.parse_args()


def main() -> None:
    """Write the protected config."""
    args = parse_args()
    key = dict(type='KeyFile', path=args.key_file) if args.key_file else None
    block_stem = dict(border=args.stem) if args.stem else None
    try:
        path = protect_config(args.config, args.out, cipher_of(args), key, block_stem, features_of(args))
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print(f'protected config: {path}')
    print('Train it with tools/train.py of MMSegmentation or of this project; the key file is all that it needs.')


if __name__ == '__main__':
    main()
