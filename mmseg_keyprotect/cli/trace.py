"""Tell whether a checkpoint derives from a model of yours, and whose copy it is.

It compares the weights with those of the plain original, and looks for the marks of `protect --recipient`. Channels
may be in any order.
"""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import key_of
from mmseg_keyprotect.cli.ownership_options import add_records, records_of

EXAMPLE = '  keyprotect trace suspect.pth --original my_model.pth --key-file owner.key'

SHOWN = 5
"""How many recipients are listed at least; all that are traced are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument(
        'checkpoint',
        metavar='suspect',
        help='checkpoint that was found, or ONNX file: plain, bound to any key, or sealed. KEYPROTECT_SEAL_KEY_FILE '
        "opens a sealed one, else the owner's key",
    )
    parser.add_argument('--original', required=True, metavar='FILE', help='plain checkpoint that copies were made from')
    parser.add_argument('--key-file', metavar='FILE', help="the owner's key; default: KEYPROTECT_KEY_FILE")
    add_records(parser)
    parser.add_argument(
        '--ancestor',
        metavar='FILE',
        help='public weights that the original was fine-tuned from; what they have shows nothing',
    )


def run(args: argparse.Namespace) -> None:
    """Print the verdict, and the scores it rests on."""
    from mmseg_keyprotect.ownership import trace_suspect

    folder = records_of(args.records, args.key_file)
    found = trace_suspect(args.checkpoint, args.original, folder, key_of(args.key_file), args.ancestor)
    print(f'{found.compared} of {found.tensors} tensors compared, {found.aligned} aligned')
    for score in found.scores[: max(SHOWN, len(found.traced))]:
        print(f'{score.recipient}: z = {score.z:.1f}, chance of a hit {score.chance:.0e} at most')
    if len(found.scores) > max(SHOWN, len(found.traced)):
        print(f'{len(found.scores)} recipients tried')
    print(f'{found.verdict}: {found.sentence}')
