"""Bind a trained model to a key without training: its weights absorb the key."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.cipher_arguments import add_cipher_arguments, cipher_of, features_of
from mmseg_keyprotect.engine.sealed_checkpoints import SCHEME, is_sealed
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.files import write_new
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.protection.verify import verify_protection


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='unprotected config file, or mmseg::... for one of MMSegmentation')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    add_cipher_arguments(parser, features=True)
    parser.add_argument('--key-file', help='key file; default: the one that KEYPROTECT_KEY_FILE names')
    parser.add_argument(
        '--border',
        choices=['grey', 'exact'],
        default='grey',
        help='around the image; exact: as the plain model has it, which shows key bits in the weights; default: grey',
    )
    parser.add_argument('--seal', action='store_true', help='seal the checkpoint, with the same key by default')
    parser.add_argument('-o', '--out', required=True, help='the folder to make')
    parser.add_argument(
        '--verify',
        action='store_true',
        help='compare logits and mIoU with the plain model, and write verification.json',
    )
    parser.add_argument('--data', help='folder of the data set for --verify, in place of data_root')
    parser.add_argument('--images', type=int, help='how many images --verify takes; default: all')
    return parser.parse_args()


def main() -> None:
    """Write the protected folder, and verify it."""
    args = parse_args()
    key = dict(type='KeyFile', path=args.key_file) if args.key_file else None
    try:
        config, checkpoint = protect_checkpoint(
            args.config, args.checkpoint, args.out, cipher_of(args), key, args.border, args.seal, features_of(args)
        )
        loaded_as = f'{SCHEME}{checkpoint}' if args.seal or is_sealed(args.checkpoint) else str(checkpoint)
        print(f'protected config:     {config}')
        print(f'protected checkpoint: {loaded_as}')
        if args.verify:
            found = verify_protection(args.config, args.checkpoint, config, loaded_as, key, args.data, args.images)
            write_new(Path(args.out) / 'verification.json', json.dumps(asdict(found)) + '\n')
            print(found)
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print('It needs the key to understand images. The key can be looked for in its weights: docs/threat_model.md.')


if __name__ == '__main__':
    main()
