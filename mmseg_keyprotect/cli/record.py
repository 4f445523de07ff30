"""Write a commitment to the records of copies, to publish or to have time-stamped; or check one.

The commitment holds hashes, key ids and the date. It names no recipient.
"""

from __future__ import annotations

import argparse
import hashlib
from typing import TYPE_CHECKING

from mmseg_keyprotect.cli.ownership_options import add_records, records_of
from mmseg_keyprotect.cli.usage import UsageError

if TYPE_CHECKING:
    from mmseg_keyprotect.ownership.record import CopyRecord

EXAMPLE = """\
  keyprotect record --key-file owner.key -o commitment.json
  keyprotect record --verify commitment.json --records opened --original my_model.pth"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_records(parser)
    parser.add_argument('--key-file', metavar='FILE', help="the owner's key file, to find the records beside it")
    parser.add_argument('-o', '--out', metavar='FILE', help='the commitment to make')
    parser.add_argument(
        '--verify', metavar='FILE', help='commitment to check against the records, which may be some of them'
    )
    parser.add_argument('--original', metavar='FILE', help='with --verify: plain checkpoint, whose hash is compared')


def run(args: argparse.Namespace) -> None:
    """Write the commitment, or check it."""
    from mmseg_keyprotect.ownership import commit, read_records
    from mmseg_keyprotect.ownership.record import now

    if bool(args.out) == bool(args.verify) or (args.original and not args.verify):
        raise UsageError('either -o, or --verify with or without --original, is needed')
    records = read_records(records_of(args.records, args.key_file))
    if args.verify:
        _verify(args, records)
        return
    from mmseg_keyprotect.files import write_new

    text = commit(records, now())
    path = write_new(args.out, text)
    print(f'commitment to {len(records)} records: {path}')
    print(f'SHA-256: {hashlib.sha256(text.encode()).hexdigest()}')
    print('Publish it or have it time-stamped: its date proves nothing by itself. Keep the records and the original.')


def _verify(args: argparse.Namespace, records: list[CopyRecord]) -> None:
    from mmseg_keyprotect.ownership import verify_commitment
    from mmseg_keyprotect.ownership.record import read_text
    from mmseg_keyprotect.ownership.trace import of_original, read_original

    closed = verify_commitment(read_text(args.verify), records, args.verify)
    if args.original:
        records = of_original(records, read_original(args.original))
    for record in records:
        print(f'{record.date} {record.recipient}: copy {record.copy[:12]} of the original {record.original[:12]}')
    print(f'records that the commitment holds: {len(records)} opened, {closed} others')
