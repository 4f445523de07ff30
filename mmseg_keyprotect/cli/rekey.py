"""Move a protected checkpoint with a block stem from one key to another, without training."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import key_of

EXAMPLE = (
    '  keyprotect rekey protected/my_config.py protected/my_model.pth '
    '--old-key-file my.key --new-key-file new.key -o rekeyed.pth'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config and of the old key')
    parser.add_argument(
        '--old-key-file', metavar='FILE', help="default: the config's key, or the file that KEYPROTECT_KEY_FILE names"
    )
    parser.add_argument('--new-key-file', metavar='FILE', required=True, help='the new key file')
    parser.add_argument('-o', '--out', required=True, help='the checkpoint to make')


def run(args: argparse.Namespace) -> None:
    """Write the checkpoint of the new key."""
    from mmseg_keyprotect.protection import rekey_checkpoint

    new_key, old_key = dict(type='KeyFile', path=args.new_key_file), key_of(args.old_key_file)
    path = rekey_checkpoint(args.config, args.checkpoint, args.out, new_key, old_key)
    print(f'checkpoint of the new key: {path}')
    print('Whoever has the old checkpoint and the old key can still use them.')
