"""Write a model in two parts: a public backbone for any machine, and a sealed private part for where the key is."""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import add_cfg_options, cfg_options, load
from mmseg_keyprotect.cli.seal_options import (
    add_no_key,
    add_recipients,
    add_seal_key_file,
    add_signer,
    whom_to_seal_for,
)

EXAMPLE = '  keyprotect split my_private_side.py out/iter_300.pth -o parts'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', help='config file with a PrivateSideSegmentor')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('-o', '--out', required=True, metavar='DIR', help='the folder to make')
    parser.add_argument(
        '--size', nargs=2, type=int, metavar=('H', 'W'), help='size of the images, in pixels; default: any'
    )
    parser.add_argument(
        '--dtype',
        choices=['float16', 'float32'],
        default='float16',
        help='type of the feature maps between the parts; default: float16',
    )
    parser.add_argument('--images', metavar='DIR', help='folder of images to compare with torch; default: noise')
    parser.add_argument('--count', type=int, default=8, metavar='N', help='how many of them; default: 8')
    add_seal_key_file(parser)
    add_recipients(parser)
    add_no_key(parser)
    add_signer(parser)
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Split, and print what the comparison found."""
    from mmseg_keyprotect.config.checks import refuse_leaks
    from mmseg_keyprotect.session.plain_images import images_in
    from mmseg_keyprotect.split import split_model
    from mmseg_keyprotect.split.parts import PRIVATE_FILE, PUBLIC_FILE

    refuse_leaks(args.words)
    recipients, key_id, signer = whom_to_seal_for(args)
    found = split_model(
        load(args.config, cfg_options(args.cfg_options), None),
        args.checkpoint,
        args.out,
        recipients,
        key_id,
        signer,
        tuple(args.size) if args.size else None,
        args.dtype,
        images_in(args.images, args.count) if args.images else [],
    )
    for one in found:
        print(f'{one.size[0]} x {one.size[1]} pixels: {one.same:.4%} of the classes are those of the whole model')
    print(f'public, for any machine: {args.out}/{PUBLIC_FILE}')
    print(f'private, opens with the key: {args.out}/{PRIVATE_FILE}')
