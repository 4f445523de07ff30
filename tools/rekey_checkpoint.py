"""Move a protected checkpoint with a block stem from one key to another, without training."""

from __future__ import annotations

import argparse
import sys

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.protection import rekey_checkpoint


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config and of the old key')
    parser.add_argument('--old-key-file', help="default: the config's key, or the file that KEYPROTECT_KEY_FILE names")
    parser.add_argument('--new-key-file', required=True)
    parser.add_argument('-o', '--out', required=True, help='the checkpoint to make')
    return parser.parse_args()


def main() -> None:
    """Write the checkpoint of the new key."""
    args = parse_args()
    old_key = dict(type='KeyFile', path=args.old_key_file) if args.old_key_file else None
    new_key = dict(type='KeyFile', path=args.new_key_file)
    try:
        path = rekey_checkpoint(args.config, args.checkpoint, args.out, new_key, old_key)
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print(f'checkpoint of the new key: {path}')
    print('Whoever has the old checkpoint and the old key can still use them.')


if __name__ == '__main__':
    main()
