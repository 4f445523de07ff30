"""Make a key file, or show what is public of one. The key itself is never shown."""

from __future__ import annotations

import argparse
import os
import shlex
import stat
import sys
import warnings
from collections.abc import Callable

from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.encoding import Passphrase
from mmseg_keyprotect.keys.passphrases import find_passphrase, prompt_passphrase
from mmseg_keyprotect.keys.providers import KEY_FILE_VARIABLE
from mmseg_keyprotect.sealing import Token, publisher_of, recipient_of
from mmseg_keyprotect.sealing.pkcs11_uris import SCHEME

EXAMPLE = """\
  keyprotect keygen my.key
  keyprotect keygen --show-id my.key"""
AFTER_INTERRUPTION = 'no key was made'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument('out', nargs='?', metavar='OUT', help='the key file to make; it must not exist yet')
    target.add_argument('--show-id', metavar='FILE', help='print the key id of this key file and make nothing')
    target.add_argument(
        '--show-recipient',
        metavar='FILE|URI',
        help='print what others need to seal files for this key, or this token, pkcs11:...; no secret',
    )
    target.add_argument(
        '--show-publisher', metavar='FILE', help='print what others need to recognise files that this key signs'
    )
    sealing = parser.add_mutually_exclusive_group()
    sealing.add_argument('--passphrase', action='store_true', help='ask for a passphrase and seal the new key with it')
    sealing.add_argument('--passphrase-file', metavar='FILE', help='a text file that holds the passphrase')


def run(args: argparse.Namespace) -> None:
    """Make the key, or show what is public of one."""
    if args.out is None and args.passphrase:
        raise UsageError('--passphrase belongs to OUT; the other options ask by themselves if the key is sealed')
    if args.show_id is not None:
        show(args.show_id, args.passphrase_file, lambda key: key.key_id)
    elif args.show_publisher is not None:
        show(args.show_publisher, args.passphrase_file, publisher_of)
    elif (args.show_recipient or '').startswith(SCHEME):
        print(Token(args.show_recipient).recipient)
    elif args.show_recipient is not None:
        show(args.show_recipient, args.passphrase_file, recipient_of)
    else:
        make_key(args.out, args.passphrase, args.passphrase_file)


def new_passphrase() -> str:
    """Ask for a passphrase twice."""
    first = prompt_passphrase('Passphrase for the new key: ')
    if not first:
        raise KeyFileError('the passphrase is empty. Give one that is hard to guess.')
    if first != prompt_passphrase('The same passphrase again: '):
        raise KeyFileError('the two passphrases differ. Start again.')
    return first


def show(path: str, passphrase_file: str | None, what: Callable[[SecretKey], str]) -> None:
    """Print what is public of a key file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        key = SecretKey.load(path, lambda: find_passphrase(passphrase_file), allow_world_readable=True)
    for warning in caught:
        print(f'warning: {warning.message}', file=sys.stderr)
    print(what(key))


def make_key(out: str, ask: bool, passphrase_file: str | None) -> None:
    """Make a key file and say what to do next."""
    passphrase: Passphrase = new_passphrase if ask else None
    if passphrase_file is not None:
        passphrase = find_passphrase(passphrase_file)
    key = SecretKey.generate()
    key.save(out, passphrase)
    path = os.path.abspath(out)
    print(f'key id: {key.key_id}')
    print(f'file: {path} (mode {stat.S_IMODE(os.stat(path).st_mode):04o}{", sealed" if passphrase else ""})')
    print(f'To use it: export {KEY_FILE_VARIABLE}={shlex.quote(path)}')
    print('Keep a backup of the file: without the key the model is lost.')
