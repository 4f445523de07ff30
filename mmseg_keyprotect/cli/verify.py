"""Read a whole sealed file with the key, and look for damage."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.seal_options import add_openers, not_empty, opener
from mmseg_keyprotect.sealing import open_sealed

EXAMPLE = '  keyprotect verify sealed.pth'

MADE_BY = {
    'key': 'sealed by somebody who has this key',
    'x25519': "for this key's public text: anybody who knows that text, and every other recipient, can have made it",
    'p256': "for this token's public text: anybody who knows that text, and every other recipient, can have made it",
    'age': 'for this recipient of age: anybody who knows it, and every other recipient, can have made it',
    'passphrase': 'sealed by somebody who knows this passphrase',
}
"""What opening a file proves about who made it, by the type of the recipient."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('checkpoint', help='the sealed file')
    add_openers(parser)
    parser.add_argument('--own', action='store_true', help='refuse a file that was not sealed under this key itself')
    parser.add_argument(
        '--publisher',
        type=not_empty,
        metavar='TEXT',
        help='refuse what this publisher did not sign; default: KEYPROTECT_PUBLISHER',
    )


def run(args: argparse.Namespace) -> None:
    """Open the file, which verifies every chunk of it."""
    with open_sealed(args.checkpoint, **opener(args), own=args.own, publisher=args.publisher) as reader:
        size, opened_as, signature = reader.raw.size, reader.raw.opened_as, reader.raw.header.signature
    print(f'untouched: {size} plain bytes')
    print(MADE_BY[opened_as] if signature is None else f'signed by {signature.publisher_text}')
