"""Protect a config, so that it trains an encrypted model; or bind a trained model to a key without training.

With CONFIG alone, a config that inherits it is written. With CHECKPOINT too, a folder with the protected config and
checkpoint: the weights absorb the key. With --recipient the weights also get a mark, by which `trace` finds whose copy
it was; with --cipher none as well, nothing but the mark.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmseg_keyprotect.cli.cipher_options import add_cipher_arguments, cipher_of, features_of
from mmseg_keyprotect.cli.key_options import add_key_file, key_of
from mmseg_keyprotect.cli.ownership_options import add_records, records_of
from mmseg_keyprotect.cli.usage import UsageError

MARK = ('owner_key_file', 'strength', 'records')
"""The options of ``--recipient``."""

EXAMPLE = """\
  keyprotect protect mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py -o protected.py
  keyprotect protect my_config.py my_model.pth -o protected --verify
  keyprotect protect my_config.py my_model.pth -o for_acme --recipient acme --owner-key-file owner.key"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', help='unprotected config file, or mmseg::... for one of MMSegmentation')
    parser.add_argument('checkpoint', nargs='?', help='trained checkpoint of that config, to bind to the key')
    add_cipher_arguments(parser, features=True)
    parser.add_argument(
        '--stem',
        '--border',
        nargs='?',
        choices=['grey', 'exact'],
        const='grey',
        help='give the model a block stem, so that trained weights lose nothing, with this border around the image; '
        'exact: as the plain model has it, which shows key bits in the weights. Default: grey with CHECKPOINT, else '
        'no block stem',
    )
    add_key_file(parser, 'key file; default: KEYPROTECT_KEY_FILE. For a config alone, the path is written into it')
    parser.add_argument('-o', '--out', required=True, help='the config file to make; with CHECKPOINT the folder')
    bind = parser.add_argument_group('with CHECKPOINT')
    bind.add_argument('--seal', action='store_true', help='seal the checkpoint, with the same key by default')
    bind.add_argument(
        '--verify', action='store_true', help='compare logits and mIoU with the plain model; writes verification.json'
    )
    bind.add_argument('--data', metavar='DIR', help='folder of the data set for --verify, in place of data_root')
    bind.add_argument('--images', type=int, metavar='N', help='how many images --verify takes; default: all')
    mark = parser.add_argument_group('with CHECKPOINT, to find out later whose copy leaked')
    mark.add_argument('--recipient', metavar='NAME', help='mark the weights for this recipient, and keep a record')
    mark.add_argument('--owner-key-file', metavar='FILE', help='key that the mark is derived from; default: the key')
    mark.add_argument(
        '--strength', type=float, metavar='X', help='of the mark, in standard deviations of a tensor; default: 0.001'
    )
    add_records(mark)


def run(args: argparse.Namespace) -> None:
    """Write the protected config, or the protected folder."""
    if args.checkpoint is None:
        _protect_config(args)
    else:
        _bind(args)


def _protect_config(args: argparse.Namespace) -> None:
    from mmseg_keyprotect.config import protect_config

    if given := given_of(args, ('seal', 'verify', 'data', 'images', 'recipient', *MARK)):
        raise UsageError(f'CHECKPOINT is needed for {" ".join(given)}')
    block_stem = dict(border=args.stem) if args.stem else None
    path = protect_config(args.config, args.out, cipher_of(args), key_of(args.key_file), block_stem, features_of(args))
    print(f'protected config: {path}')
    print(f'Train it: keyprotect train {path}')


def _bind(args: argparse.Namespace) -> None:
    from mmseg_keyprotect.engine.sealed_checkpoints import SCHEME, is_sealed
    from mmseg_keyprotect.files import write_new
    from mmseg_keyprotect.protection import protect_checkpoint
    from mmseg_keyprotect.protection.verify import verify_protection

    key = key_of(args.key_file)
    protection: dict[str, Any] = dict(
        cipher=cipher_of(args), key=key, border=args.stem or 'grey', seal=args.seal, features=features_of(args)
    )
    if args.recipient:
        from mmseg_keyprotect.ownership import DEFAULT_STRENGTH, protect_copy

        owner = args.owner_key_file or args.key_file
        marking: dict[str, Any] = dict(
            recipient=args.recipient,
            records=records_of(args.records, owner),
            owner_key=key_of(owner),
            strength=DEFAULT_STRENGTH if args.strength is None else args.strength,
        )
        config, checkpoint, record = protect_copy(args.config, args.checkpoint, args.out, **marking, **protection)
        print(f'record:               {record}')
    elif given := given_of(args, MARK):
        raise UsageError(f'--recipient is needed for {" ".join(given)}')
    else:
        config, checkpoint = protect_checkpoint(args.config, args.checkpoint, args.out, **protection)
    loaded_as = f'{SCHEME}{checkpoint}' if is_sealed(checkpoint) else str(checkpoint)
    print(f'protected config:     {config}')
    print(f'protected checkpoint: {loaded_as}')
    if args.verify:
        found = verify_protection(args.config, args.checkpoint, config, loaded_as, key, args.data, args.images)
        write_new(Path(args.out) / 'verification.json', json.dumps(asdict(found)) + '\n')
        print(found)
    if protection['cipher'] is None and protection['features'] is None:
        print('The model is marked, and bound to no key.')
        return
    print('The model needs the key to understand images. The key can be looked for in its weights: seal them.')


def given_of(args: argparse.Namespace, names: Sequence[str]) -> list[str]:
    """Return the options out of ``names`` that the command line has."""
    return [f'--{name.replace("_", "-")}' for name in names if getattr(args, name) not in (None, False)]
