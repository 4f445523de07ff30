"""Measure what a protected model gives to the correct key, to no key and to wrong keys."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from mmengine.config import DictAction

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.engine.pipelines import load_quietly
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.evaluation.access import AccessEvaluation, set_data_root, set_key_file
from mmseg_keyprotect.evaluation.report import check_no_report


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('--key-file', help='key file; default: the one that KEYPROTECT_KEY_FILE names')
    parser.add_argument('--wrong-keys', type=int, default=10, help='how many fresh random keys to try')
    parser.add_argument('--data', help='folder of the data set, in place of data_root')
    parser.add_argument('-o', '--out', required=True, help='folder for access.json and access.md')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override settings, key=value')
    return parser.parse_args()


def main() -> None:
    """Run the evaluation."""
    args = parse_args()
    try:
        check_no_report(args.out)
        cfg = load_quietly(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        if args.data:
            set_data_root(cfg, args.data)
        if args.key_file:
            set_key_file(cfg, args.key_file)
        evaluation = AccessEvaluation(cfg, args.checkpoint, str(Path(args.out) / 'logs'))
        report = evaluation.run(args.wrong_keys)
        path = report.save(args.out, config=Path(args.config).name, checkpoint=Path(args.checkpoint).name)
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print(report.table())
    print(report.verdict)
    print(f'report: {path}')


if __name__ == '__main__':
    main()
