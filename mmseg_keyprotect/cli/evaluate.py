"""Measure the mIoU with the correct key, with no key, with wrong keys and with partly right keys."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING, Any

from mmseg_keyprotect.cli.key_options import add_cfg_options, add_key_file, cfg_options

if TYPE_CHECKING:
    from mmengine.config import Config

EXAMPLE = """\
  keyprotect evaluate protected.py out/iter_20000.pth --wrong-keys 10 -o report
  torchrun --nproc_per_node 4 -m mmseg_keyprotect evaluate protected.py out/iter_20000.pth -o report \\
      --launcher pytorch"""
AFTER_INTERRUPTION = 'run the same command again to continue'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    add_key_file(parser)
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
    parser.add_argument('--data', metavar='DIR', help='folder of the data set, in place of data_root')
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
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch'],
        default='none',
        help='pytorch: under torchrun',
    )
    add_cfg_options(parser, 'override settings; those of `model` do not apply to the baseline')


def run(args: argparse.Namespace) -> None:
    """Evaluate, and print the table, the verdict and the path of the report."""
    from mmengine.dist import is_main_process

    from mmseg_keyprotect.config.checks import refuse_leaks
    from mmseg_keyprotect.config.edit import set_key_file
    from mmseg_keyprotect.engine.mmseg_tools import join_processes
    from mmseg_keyprotect.evaluation.evaluate import GALLERY, REPORT, evaluate_access

    refuse_leaks(args.words)
    if args.launcher == 'pytorch':
        join_processes()
    options = cfg_options(args.cfg_options)
    cfg = load(args.config, options, args.data)
    if args.key_file:
        set_key_file(cfg, args.key_file)
    shared = {name: value for name, value in options.items() if not name.startswith('model.')}
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


def load(config: str, options: dict[str, Any], data: str | None) -> Config:
    """Load a configuration, and apply the overrides and the data folder of the command line."""
    from mmseg_keyprotect.config.edit import override, set_data_root
    from mmseg_keyprotect.config.view import load_quietly

    cfg = load_quietly(config)
    override(cfg, options)
    if data:
        set_data_root(cfg, data)
    return cfg
