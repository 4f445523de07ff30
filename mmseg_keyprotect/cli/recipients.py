"""Add or remove the recipients of a sealed file; its contents stay as they are."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.inspect import show
from mmseg_keyprotect.cli.seal_options import add_openers, add_recipients, add_signer, opener, recipients_of, signer_of
from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.sealing import add_recipients as add_to_file
from mmseg_keyprotect.sealing import file_info, remove_recipient

EXAMPLE = """\
  keyprotect recipients add sealed.pth -o for_two.pth --recipient MMSEG-KEYPROTECT-RECIPIENT-2....
  keyprotect recipients remove for_two.pth -o for_one.pth --recipient 0123456789abcdef"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    texts = {
        'list': 'former name of `keyprotect inspect`',
        'add': 'copy a sealed file for more recipients',
        'remove': 'copy a sealed file without a recipient',
    }
    for name, text in texts.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument('checkpoint', help='the sealed file')
        if name == 'list':
            continue
        action.add_argument('-o', '--out', required=True, help='the file to make')
        add_openers(action)
        add_signer(action)
        if name == 'add':
            add_recipients(action)
        else:
            action.add_argument(
                '--recipient',
                metavar='NAME',
                help='its name, as `keyprotect inspect` shows it; without one, the names are listed',
            )


def run(args: argparse.Namespace) -> None:
    """Carry out the action."""
    if args.action == 'list':
        show(args.checkpoint)
    elif args.action == 'add':
        add_to_file(args.checkpoint, args.out, recipients_of(args), **opener(args), signer=signer_of(args))
        print(f'sealed for more recipients: {args.out}')
    elif args.recipient is None:
        names = ', '.join(file_info(args.checkpoint)['recipients'])
        raise UsageError(f'--recipient is needed, one of those of {args.checkpoint}: {names}')
    else:
        remove_recipient(args.checkpoint, args.out, args.recipient, **opener(args), signer=signer_of(args))
        print(f'sealed without {args.recipient}: {args.out}')
        print('Copies that this recipient has can still be opened with their key.')
