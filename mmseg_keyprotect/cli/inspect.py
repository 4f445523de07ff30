"""Show what a sealed file says about itself, without a key: recipients, signature, licence.

The signature of the header is checked. Only opening the file proves the rest.
"""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.usage import UsageError
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.sealing import Licence, device_id, file_info

EXAMPLE = """\
  keyprotect inspect sealed.pth
  keyprotect inspect --this-device"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('checkpoint', nargs='?', help='the sealed file')
    parser.add_argument('--this-device', action='store_true', help='print the id of this machine, for a licence')


def run(args: argparse.Namespace) -> None:
    """Show the file, or the id of the machine."""
    if args.this_device == bool(args.checkpoint):
        raise UsageError('either a sealed file or --this-device is needed')
    if args.this_device:
        print(device_id())
    else:
        show(args.checkpoint)


def show(path: str) -> None:
    """Print what a sealed file says about itself."""
    found = file_info(path)
    licence = found.pop('licence', None)
    if licence is None:
        found['publisher'] = 'not signed'
    for name, value in found.items():
        print(f'{name}: {", ".join(map(printable, value)) if isinstance(value, list) else value}')
    if licence is not None:
        terms = {name: value for name, value in licence.items() if value}
        for name, value in terms.items():
            lines = map(printable, value.splitlines() or [''])
            print(f'licence, {name}:', '\n  '.join(lines) if name == 'text' else printable(value))
        print(f'licence: {_state(licence) if terms else "no terms"}')


def printable(text: str) -> str:
    """Return text of a hostile file without what could steer a terminal."""
    return ''.join(letter if letter.isprintable() else '?' for letter in text)


def _state(licence: dict[str, str]) -> str:
    try:
        problem = Licence(**licence).problem()
    except KeyProtectError as error:  # the device cannot be told
        problem = str(error)
    return f'does not allow to open it here now: {problem}' if problem else 'allows to open it here now'
