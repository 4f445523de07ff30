"""Attack a protected model as a thief would, and print what he gets."""

from __future__ import annotations

import argparse
import shlex
import sys

from mmengine.config import DictAction

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.audit.attack import STEPS
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.run_audit import choose_attacks, run_audit
from mmseg_keyprotect.engine.config_check import check_leaks, raise_problems
from mmseg_keyprotect.engine.pipelines import load_quietly, set_data_root, set_key_file
from mmseg_keyprotect.errors import KeyProtectError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('--key-file', help='key file; default: the one that KEYPROTECT_KEY_FILE names')
    parser.add_argument('--attacks', default='all', help=f'all, or some of {",".join(ATTACKS)}; default: all')
    parser.add_argument('--minutes', type=float, default=5, help='the time that each attack may take; default: 5')
    parser.add_argument(
        '--images',
        type=int,
        default=16,
        help='plain images with labels that the attacker has, and at most as many others encrypted; default: 16',
    )
    parser.add_argument(
        '--steps', type=int, default=STEPS, help=f'training steps, at most, of attacks that train; default: {STEPS}'
    )
    parser.add_argument('--held-out', type=int, default=30, help='test images that he is measured on; default: 30')
    parser.add_argument('--public-weights', help='checkpoint of the public model that this one was made from, if any')
    parser.add_argument('--data', help='folder of the data set, in place of data_root')
    parser.add_argument('-o', '--out', required=True, help='folder to make, or that of an earlier run to go on')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, help='override settings')
    return parser.parse_args()


def main() -> None:
    """Run the audit."""
    args = parse_args()
    try:
        raise_problems(list(check_leaks({'the command line': sys.argv}, {})))
        attacks = choose_attacks(args.attacks)
        cfg = load_quietly(args.config)
        if args.cfg_options:
            cfg.merge_from_dict(args.cfg_options)
        if args.data:
            set_data_root(cfg, args.data)
        if args.key_file:
            set_key_file(cfg, args.key_file)
        command = f'python {shlex.join(sys.argv)}'
        report = run_audit(
            cfg,
            args.checkpoint,
            args.out,
            attacks,
            args.minutes,
            args.images,
            args.held_out,
            args.public_weights,
            command,
            args.steps,
        )
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        print('\ninterrupted: run the same command again to go on', file=sys.stderr)
        sys.exit(130)
    print(report.table())
    for finding in report.findings:
        print(f'{finding.attack}: {finding.sentence}')
    print(report.verdict)
    print(f'report: {args.out}/audit.html')


if __name__ == '__main__':
    main()
