"""Fine-tune a bound model, so that it is of no use without the correct key.

The weights that `keyprotect protect CONFIG CHECKPOINT` wrote are trained a little longer, on the data of the config.
The folder gets the state with the largest margin between the correct key and the best user without it.
"""

from __future__ import annotations

import argparse

from mmseg_keyprotect.cli.key_options import add_cfg_options, add_launcher, add_model, add_tuning, model_config
from mmseg_keyprotect.cli.usage import UsageError

EXAMPLE = """\
  keyprotect deny bound/my_config.py bound/my_model.pth -o denied
  torchrun --nproc_per_node 4 -m mmseg_keyprotect deny bound/my_config.py bound/my_model.pth -o denied \\
      --launcher pytorch"""
AFTER_INTERRUPTION = 'the folder holds its log alone; delete it to start again'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model(parser, 'config file of a bound model')
    add_tuning(parser, 600, 1.0, 'of the images of a batch that is denied')
    parser.add_argument('--weight', type=float, default=1.0, metavar='X', help='of the loss of denial; default: 1')
    parser.add_argument('--wrong-keys', type=int, default=8, metavar='N', help='in each validation; default: 8')
    parser.add_argument('--images', type=int, metavar='N', help='in each validation; default: all of val_dataloader')
    parser.add_argument('--amp', action='store_true', help='train with automatic mixed precision')
    parser.add_argument('--seal', action='store_true', help='seal the checkpoint')
    parser.add_argument('-o', '--out', required=True, metavar='DIR', help='folder to make')
    add_launcher(parser)
    add_cfg_options(parser)


def run(args: argparse.Namespace) -> None:
    """Fine-tune, and print what each user gets before and after."""
    import torch
    from mmengine.dist import is_main_process

    from mmseg_keyprotect.engine.mmseg_tools import WRAPPER_DEVICES, join_processes
    from mmseg_keyprotect.fine_tuning.deny import deny_checkpoint

    if args.amp and not torch.cuda.is_available():
        raise UsageError('--amp needs a GPU')
    cfg = model_config(args)
    if args.launcher == 'pytorch':
        join_processes()
        cfg.launcher = 'pytorch'
        if not torch.cuda.is_available():
            cfg.merge_from_dict({WRAPPER_DEVICES: None})
    found = deny_checkpoint(
        cfg,
        args.checkpoint,
        args.out,
        args.seal,
        iterations=args.iterations,
        lr_scale=args.lr_scale,
        wrong_keys=args.wrong_keys,
        images=args.images,
        amp=args.amp,
        weight=args.weight,
        share=args.share,
    )
    if not is_main_process():
        return
    before, after = found['start'], found['best']
    print(f'mIoU on validation images, before -> after {after["iteration"]} iterations')
    for who, name in (('correct key', 'mIoU'), ('no key', 'no_key'), ('best wrong key', 'wrong_key')):
        print(f'  {who}: {before[name]:.1f} -> {after[name]:.1f}')
    print(f'  floor: {after["floor"]:.1f}')
    print(f'checkpoint: {found["checkpoint"]}')
    print('Measure it with other keys: keyprotect evaluate')
