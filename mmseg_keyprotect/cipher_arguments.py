"""The arguments that name a cipher on a command line."""

from __future__ import annotations

import argparse
from typing import Any

CIPHERS = {'shuffle': 'Shuffle', 'negative-positive': 'NegativePositive', 'ffx': 'FFX'}


def add_cipher_arguments(parser: argparse.ArgumentParser) -> None:
    """Add ``--cipher``, ``--block-size`` and ``--allow-weak``."""
    parser.add_argument(
        '--cipher',
        nargs='+',
        choices=list(CIPHERS),
        default=['shuffle', 'negative-positive'],
        help='one cipher, or several in order; default: shuffle negative-positive',
    )
    parser.add_argument('--block-size', type=int, default=4, help='in pixels; default: 4')
    parser.add_argument('--allow-weak', action='store_true', help='permit a cipher of less than 80 key bits')


def cipher_of(args: argparse.Namespace) -> dict[str, Any] | list[dict[str, Any]]:
    """Return the cipher's configuration that the arguments name."""
    weak = dict(allow_weak=True) if args.allow_weak else {}
    cipher = [dict(type=CIPHERS[word], block_size=args.block_size, **weak) for word in args.cipher]
    return cipher[0] if len(cipher) == 1 else cipher
