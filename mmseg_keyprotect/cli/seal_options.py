"""The arguments of the commands for sealed files."""

from __future__ import annotations

import argparse
from typing import Any

from mmseg_keyprotect.cli.key_options import key_of
from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.keys import SecretKey, build_key, seal_key
from mmseg_keyprotect.keys.passphrases import find_passphrase
from mmseg_keyprotect.keys.providers import names_a_key
from mmseg_keyprotect.sealing import (
    KeyRecipient,
    Licence,
    PassphraseRecipient,
    Recipient,
    Signer,
    opener_for,
    opener_from,
    recipient_from,
)
from mmseg_keyprotect.sealing.licences import MAX_TEXT
from mmseg_keyprotect.sealing.sealed_files import open_file


def add_seal_key_file(parser: argparse.ArgumentParser) -> None:
    """Add ``--key-file``."""
    parser.add_argument(
        '--key-file', type=not_empty, metavar='FILE', help='default: KEYPROTECT_SEAL_KEY_FILE, else KEYPROTECT_KEY_FILE'
    )


def add_openers(parser: argparse.ArgumentParser) -> None:
    """Add what opens a sealed file."""
    add_seal_key_file(parser)
    parser.add_argument(
        '--passphrase-file', type=not_empty, metavar='FILE', help='open it with this passphrase in place of a key'
    )
    parser.add_argument(
        '--identity',
        type=not_empty,
        metavar='FILE|URI',
        help='open it with this identity file of age, or this token, pkcs11:..., in place of a key',
    )


def add_recipients(parser: argparse.ArgumentParser) -> None:
    """Add who else can open it."""
    parser.add_argument(
        '--recipient',
        nargs='+',
        default=[],
        metavar='TEXT',
        help='what `keyprotect keygen --show-recipient KEY_FILE` prints; age1... or an SSH public key, for age',
    )
    parser.add_argument('--recipient-passphrase-file', metavar='FILE', help='this passphrase opens it too')


def add_no_key(parser: argparse.ArgumentParser) -> None:
    """Add ``--no-key``."""
    parser.add_argument('--no-key', action='store_true', help='for the other recipients alone')


def add_signer(parser: argparse.ArgumentParser) -> None:
    """Add who signs, and the terms of the licence."""
    group = parser.add_argument_group('signature and licence')
    group.add_argument(
        '--sign', type=not_empty, metavar='KEY_FILE', help="sign with this key, the publisher's, which no customer has"
    )
    group.add_argument('--licensee', type=not_empty, metavar='NAME', help='whose copy it is')
    group.add_argument(
        '--not-before', type=not_empty, metavar='DAY', help='the first day, such as 2026-01-31, or a time in UTC'
    )
    group.add_argument('--not-after', type=not_empty, metavar='DAY', help='the last day, or a time in UTC')
    group.add_argument(
        '--device', type=not_empty, metavar='ID', help='what `keyprotect inspect --this-device` prints there'
    )
    group.add_argument('--terms', type=not_empty, metavar='FILE', help='text file with further terms')


def signer_of(args: argparse.Namespace) -> Signer | None:
    """Return who signs, and with which licence; None where nobody does.

    Raises:
        UsageError: There are terms, and nobody signs.
    """
    terms = dict(recipient=args.licensee, not_before=args.not_before, not_after=args.not_after, device=args.device)
    terms = {name: value for name, value in terms.items() if value}
    if args.terms:
        terms['text'] = _terms(args.terms)
    if not args.sign:
        if terms:
            raise UsageError('a licence needs --sign KEY_FILE, the key of its publisher')
        return None
    return Signer(build_key(key_of(args.sign)), Licence(**terms) if terms else None)


def not_empty(text: str) -> str:
    """Return an argument that says something; an empty one, of a variable that is not set, would mean the opposite."""
    if not text.strip():
        raise argparse.ArgumentTypeError('it is empty')
    return text


def sealing_key(args: argparse.Namespace) -> SecretKey:
    """Return the key that the command line names."""
    key = key_of(args.key_file)
    return build_key(key) if key else seal_key()


def opener(args: argparse.Namespace) -> dict[str, Any]:
    """Return what opens the file: what the command line names, else what the environment names."""
    if args.identity:
        return dict(key=opener_from(args.identity))
    if args.passphrase_file:
        return dict(passphrase=find_passphrase(args.passphrase_file))
    key = sealing_key(args) if args.key_file or names_a_key() else None
    return dict(key=opener_for(args.checkpoint, key) or sealing_key(args))  # the latter says that none is named


def recipients_of(args: argparse.Namespace) -> list[Recipient]:
    """Return the recipients that the command line names, except for the key itself."""
    named: list[Recipient] = [recipient_from(text) for text in args.recipient]
    if args.recipient_passphrase_file:
        named.append(PassphraseRecipient(find_passphrase(args.recipient_passphrase_file)))
    return named


def whom_to_seal_for(args: argparse.Namespace) -> tuple[list[Recipient], str, Signer | None]:
    """Return the recipients of a new file, the key id that it names, and who signs it.

    Raises:
        UsageError: The key that opens the file signs it too.
    """
    recipients, signer = recipients_of(args), signer_of(args)
    if args.no_key:
        return recipients, '', signer
    key = sealing_key(args)
    if signer is not None and signer.key.key_id == key.key_id:
        raise UsageError('--sign needs another key than the one that opens the file: who opens it could sign too')
    return [KeyRecipient(key), *recipients], key.key_id, signer


def _terms(path: str) -> str:
    """Return the text of a file with terms."""
    with open_file(path) as file:
        content = file.read(4 * MAX_TEXT + 1)  # of four bytes a character at most
    try:
        if len(content) <= 4 * MAX_TEXT:
            return content.decode()
    except UnicodeDecodeError:
        pass
    raise ConfigError(
        f'Expected terms as UTF-8 text of at most {MAX_TEXT} characters, but {path} is none. Shorten or convert it.'
    )
