"""Measure what a protected model gives to the correct key, to no key, to wrong and to partly right keys."""

from __future__ import annotations

import argparse
import shlex
import sys

from mmengine.config import Config, DictAction
from mmengine.dist import is_main_process

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.engine.config_check import check_leaks, raise_problems
from mmseg_keyprotect.engine.mmseg_tools import join_processes
from mmseg_keyprotect.engine.pipelines import load_quietly, set_data_root, set_key_file
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.evaluation.evaluate import REPORT, evaluate_access


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('--key-file', help='key file; default: the one that KEYPROTECT_KEY_FILE names')
    parser.add_argument('--wrong-keys', type=int, default=20, help='how many random keys to try; default: 20')
    parser.add_argument(
        '--baseline', nargs=2, metavar=('CONFIG', 'CHECKPOINT'), help='the unprotected model to compare with'
    )
    parser.add_argument(
        '--known',
        type=int,
        nargs='*',
        default=[25, 50, 75, 90],
        help='percent of the key that partly right keys have right; default: 25 50 75 90',
    )
    parser.add_argument('--data', help='folder of the data set, in place of data_root')
    parser.add_argument('--pictures', type=int, default=12, help='how many images to show; 0: figures only in JSON')
    parser.add_argument('-o', '--out', required=True, help='folder to make, or that of an interrupted run to go on')
    parser.add_argument('--launcher', choices=['none', 'pytorch'], default='none', help='pytorch: under torchrun')
    parser.add_argument(
        '--cfg-options', nargs='+', action=DictAction, help='override settings; those of the model not in the baseline'
    )
    return parser.parse_args()


def load(config: str, args: argparse.Namespace, options: dict | None) -> Config:
    """Load a configuration with what the command line says of it."""
    cfg = load_quietly(config)
    if options:
        cfg.merge_from_dict(options)
    if args.data:
        set_data_root(cfg, args.data)
    return cfg


def main() -> None:
    """Run the evaluation."""
    args = parse_args()
    try:
        raise_problems(list(check_leaks({'the command line': sys.argv}, {})))
        if args.launcher == 'pytorch':
            join_processes()
        cfg = load(args.config, args, args.cfg_options)
        if args.key_file:
            set_key_file(cfg, args.key_file)
        shared = {name: value for name, value in (args.cfg_options or {}).items() if not name.startswith('model.')}
        baseline = (load(args.baseline[0], args, shared), args.baseline[1]) if args.baseline else None
        command = f'python {shlex.join(sys.argv)}'
        report = evaluate_access(
            cfg, args.checkpoint, args.out, args.wrong_keys, baseline, args.known, args.pictures, command
        )
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print('\ninterrupted: run the same command again to go on', file=sys.stderr)
        sys.exit(130)
    if is_main_process():
        if report.rows:
            print(report.table())
        print(report.verdict)
        print(f'report: {args.out}/{REPORT if args.pictures else "access.md"}')


if __name__ == '__main__':
    main()
