"""The arguments of the commands for sealed files."""

from __future__ import annotations

import argparse
from typing import Any

from mmseg_keyprotect.cli.key_options import key_of
from mmseg_keyprotect.keys import SecretKey, build_key, seal_key
from mmseg_keyprotect.keys.passphrases import find_passphrase
from mmseg_keyprotect.sealing import PassphraseRecipient, PublicRecipient
from mmseg_keyprotect.sealing.recipients import Recipient


def add_seal_key_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--key-file``."""
    parser.add_argument(
        '--key-file', metavar='FILE', help='default: KEYPROTECT_SEAL_KEY_FILE, else KEYPROTECT_KEY_FILE'
    )


def add_openers(parser: argparse.ArgumentParser) -> None:
    """Add what opens a sealed file."""
    add_seal_key_file(parser)
    parser.add_argument('--passphrase-file', metavar='FILE', help='open it with this passphrase in place of a key')


def add_recipients(parser: argparse.ArgumentParser) -> None:
    """Add who else can open it."""
    parser.add_argument(
        '--recipient',
        nargs='+',
        default=[],
        metavar='TEXT',
        help='what `keyprotect keygen --show-recipient KEY_FILE` prints',
    )
    parser.add_argument('--recipient-passphrase-file', metavar='FILE', help='this passphrase opens it too')


def sealing_key(args: argparse.Namespace) -> SecretKey:
    """Return the key that the command line names."""
    key = key_of(args.key_file)
    return build_key(key) if key else seal_key()


def opener(args: argparse.Namespace) -> dict[str, Any]:
    """Return what opens the file: a passphrase where one is named, else a key."""
    if args.passphrase_file:
        return dict(passphrase=find_passphrase(args.passphrase_file))
    return dict(key=sealing_key(args))


def recipients_of(args: argparse.Namespace) -> list[Recipient]:
    """Return the recipients that the command line names, except for the key itself."""
    named: list[Recipient] = [PublicRecipient(text) for text in args.recipient]
    if args.recipient_passphrase_file:
        named.append(PassphraseRecipient(find_passphrase(args.recipient_passphrase_file)))
    return named
