"""Measure the mIoU with the correct key, with no key, with wrong keys and with partly right keys."""

from __future__ import annotations

import argparse
import shlex

from mmseg_keyprotect.cli.key_options import add_cfg_options, add_launcher, add_model, cfg_options, load, model_config

EXAMPLE = """\
  keyprotect evaluate protected.py out/iter_20000.pth --wrong-keys 10 -o report
  torchrun --nproc_per_node 4 -m mmseg_keyprotect evaluate protected.py out/iter_20000.pth -o report \\
      --launcher pytorch"""
AFTER_INTERRUPTION = 'run the same command again to continue'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model(parser)
    parser.add_argument('--wrong-keys', type=int, default=20, metavar='N', help='random wrong keys to try; default: 20')
    parser.add_argument(
        '--baseline', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='unprotected model to compare with'
    )
    parser.add_argument(
        '--known',
        type=int,
        nargs='*',
        default=[25, 50, 75, 90],
        metavar='PERCENT',
        help='shares of the key that partly right keys know; default: 25 50 75 90',
    )
    parser.add_argument(
        '--draws', type=int, default=5, metavar='N', help='partly right keys for each of these shares; default: 5'
    )
    parser.add_argument(
        '--seed',
        type=int,
        metavar='N',
        help='try the same wrong and partly right keys again; default: drawn, and named in the report. It is no '
        'secret, and has nothing to do with the correct key',
    )
    parser.add_argument(
        '--pictures',
        type=int,
        default=12,
        metavar='N',
        help='images to show; 0: no page, only access.json and access.md; default: 12',
    )
    parser.add_argument(
        '-o', '--out', required=True, metavar='DIR', help='folder to make, or that of an interrupted run to continue'
    )
    add_launcher(parser)
    add_cfg_options(parser, 'override settings; those of `model` do not apply to the baseline')


def run(args: argparse.Namespace) -> None:
    """Evaluate, and print the table, the verdict and the path of the report."""
    from mmengine.dist import is_main_process

    from mmseg_keyprotect.engine.mmseg_tools import join_processes
    from mmseg_keyprotect.evaluation.evaluate import GALLERY, REPORT, evaluate_access

    if args.launcher == 'pytorch':
        join_processes()
    cfg = model_config(args)
    shared = {name: value for name, value in cfg_options(args.cfg_options).items() if not name.startswith('model.')}
    baseline = (load(args.baseline[0], shared, args.data), args.baseline[1]) if args.baseline else None
    command = f'keyprotect {shlex.join(args.words)}'
    report = evaluate_access(
        cfg,
        args.checkpoint,
        args.out,
        args.wrong_keys,
        baseline,
        args.known,
        args.pictures,
        command,
        args.draws,
        args.seed,
    )
    if is_main_process():
        if report.rows:
            print(report.table())
        print(report.verdict)
        print(f'report: {args.out}/{REPORT if args.pictures else "access.md"}')
        if args.pictures:
            print(f'gallery: {args.out}/{GALLERY}')
