"""Make a protected config out of any MMSegmentation config."""

from __future__ import annotations

import argparse
import sys

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.protection import protect_config

CIPHERS = {'shuffle': 'Shuffle', 'negative-positive': 'NegativePositive', 'ffx': 'FFX'}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='config file, or mmseg::... for one of MMSegmentation')
    parser.add_argument(
        '--cipher',
        nargs='+',
        choices=list(CIPHERS),
        default=['shuffle', 'negative-positive'],
        help='one cipher, or several in order; default: shuffle negative-positive',
    )
    parser.add_argument('--block-size', type=int, default=4, help='in pixels; default: 4')
    parser.add_argument('--allow-weak', action='store_true', help='permit a cipher of less than 80 key bits')
    parser.add_argument('--key-file', help='written into the config; default: KEYPROTECT_KEY_FILE at run time')
    parser.add_argument('-o', '--out', required=True, help='the config file to make')
    return parser.parse_args()


def main() -> None:
    """Write the protected config."""
    args = parse_args()
    weak = dict(allow_weak=True) if args.allow_weak else {}
    cipher = [dict(type=CIPHERS[word], block_size=args.block_size, **weak) for word in args.cipher]
    key = dict(type='KeyFile', path=args.key_file) if args.key_file else None
    try:
        path = protect_config(args.config, args.out, cipher[0] if len(cipher) == 1 else cipher, key)
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print(f'protected config: {path}')
    print('Train it with tools/train.py of MMSegmentation or of this project; the key file is all that it needs.')


if __name__ == '__main__':
    main()
