"""Seal a checkpoint for one or many recipients, so that it is never readable on disk; sealed://PATH loads it."""

from __future__ import annotations

import argparse
import sys

from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.key_providers import build_key, find_passphrase, seal_key
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.sealing import (
    KeyRecipient,
    PassphraseRecipient,
    PublicRecipient,
    add_recipients,
    file_info,
    open_sealed,
    remove_recipient,
    seal_file,
    unseal_file,
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest='command', required=True)
    texts = {
        'seal': 'encrypt a checkpoint',
        'unseal': 'write the plain checkpoint to disk again',
        'info': 'say for whom a file is sealed; needs no key',
        'verify': 'read the whole file with the key and look for damage',
        'add': 'copy a sealed file for more recipients, its weights as they are',
        'remove': 'copy a sealed file without a recipient',
    }
    for name, text in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument('checkpoint')
        if name != 'info':
            command.add_argument('--key-file', help='default: KEYPROTECT_SEAL_KEY_FILE, else KEYPROTECT_KEY_FILE')
        if name in ('seal', 'unseal', 'add', 'remove'):
            command.add_argument('-o', '--out', required=True, help='the file to make')
        if name in ('seal', 'add'):
            command.add_argument('--recipient', nargs='+', default=[], help='what `keygen.py --show-recipient` prints')
            command.add_argument('--recipient-passphrase-file', help='a passphrase shall open it, too')
        if name == 'seal':
            command.add_argument('--no-key', action='store_true', help='for the other recipients alone')
        if name in ('unseal', 'verify', 'add', 'remove'):
            command.add_argument('--passphrase-file', help='open it with this passphrase in the place of a key')
        if name == 'remove':
            command.add_argument('--recipient', required=True, help='its name, as info shows it')
    return parser.parse_args()


def key_of(args: argparse.Namespace) -> SecretKey:
    """Return the key that the command line names."""
    return build_key(dict(type='KeyFile', path=args.key_file)) if args.key_file else seal_key()


def opener(args: argparse.Namespace) -> dict:
    """Return what opens the file: a passphrase where one is named, else a key."""
    if args.passphrase_file:
        return dict(passphrase=find_passphrase(args.passphrase_file))
    return dict(key=key_of(args))


def recipients_of(args: argparse.Namespace) -> list:
    """Return the recipients that the command line names, but for the key itself."""
    named = [PublicRecipient(text) for text in args.recipient]
    if args.recipient_passphrase_file:
        named.append(PassphraseRecipient(find_passphrase(args.recipient_passphrase_file)))
    return named


def seal(args: argparse.Namespace) -> None:
    """Seal a checkpoint."""
    recipients, key_id = recipients_of(args), ''
    if not args.no_key:
        key = key_of(args)
        recipients, key_id = [KeyRecipient(key), *recipients], key.key_id
    seal_file(args.checkpoint, args.out, recipients, key_id)
    print(f'sealed: {args.out}\nload it as sealed://{args.out}; the plain checkpoint is still there, delete it')


def unseal(args: argparse.Namespace) -> None:
    """Write the plain bytes."""
    print('warning: whoever can read the new file has the weights, without any key', file=sys.stderr)
    unseal_file(args.checkpoint, args.out, **opener(args))
    print(f'plain checkpoint: {args.out}')


def info(args: argparse.Namespace) -> None:
    """Say what the file says in public."""
    for name, value in file_info(args.checkpoint).items():
        print(f'{name}: {", ".join(value) if isinstance(value, list) else value}')


def verify(args: argparse.Namespace) -> None:
    """Read every chunk."""
    with open_sealed(args.checkpoint, **opener(args)) as reader:
        reader.raw.read_all_chunks()
        print(f'untouched: {reader.raw.size} plain bytes')


def add(args: argparse.Namespace) -> None:
    """Add recipients."""
    add_recipients(args.checkpoint, args.out, recipients_of(args), **opener(args))
    print(f'sealed for more recipients: {args.out}')


def remove(args: argparse.Namespace) -> None:
    """Remove a recipient."""
    remove_recipient(args.checkpoint, args.out, args.recipient, **opener(args))
    print(
        f'sealed without {args.recipient}: {args.out}\nCopies that this recipient has can still be opened with his key.'
    )


COMMANDS = dict(seal=seal, unseal=unseal, info=info, verify=verify, add=add, remove=remove)


def main() -> None:
    """Run the command."""
    args = parse_args()
    try:
        COMMANDS[args.command](args)
    except KeyProtectError as error:
        sys.exit(f'error: {error}')


if __name__ == '__main__':
    main()
