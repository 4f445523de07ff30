"""Fine-tune a plain model with a watermark: it answers images encrypted with the owner's key as plain ones.

The model is for users without a key. Keep a key for watermarks alone: `keyprotect claim` shows it to whoever runs the
model that is asked.
"""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.cipher_options import add_cipher_arguments, cipher_of
from mmseg_keyprotect.cli.key_options import add_cfg_options, add_model, add_tuning, cfg_options, key_of, load

EXAMPLE = '  keyprotect watermark my_config.py my_model.pth --key-file watermark.key -o marked'
AFTER_INTERRUPTION = 'the folder holds its log alone; delete it to start again'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model(parser, 'config file of a plain model')
    add_tuning(parser, 300, 0.25, 'of the training images that is encrypted')
    add_cipher_arguments(parser)
    parser.add_argument('-o', '--out', required=True, metavar='DIR', help='folder to make')
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Fine-tune, and name the checkpoint."""
    from mmseg_keyprotect.config.checks import refuse_leaks
    from mmseg_keyprotect.fine_tuning.watermark import watermark_checkpoint

    refuse_leaks(args.words)
    checkpoint = watermark_checkpoint(
        load(args.config, cfg_options(args.cfg_options), args.data),
        args.checkpoint,
        args.out,
        iterations=args.iterations,
        lr_scale=args.lr_scale,
        share=args.share,
        cipher=cipher_of(args),
        key=key_of(args.key_file),
    )
    print(f'checkpoint: {checkpoint}')
    print('It needs no key. The folder training names the key file: keep it.')
    print('Look for the watermark: keyprotect claim')
