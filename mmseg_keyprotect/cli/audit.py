"""Attack a protected model, or one with a private side: what each attack recovers, and what it costs the attacker."""

from __future__ import annotations

import argparse
import shlex

from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import QUERIES, RATES
from mmseg_keyprotect.cli.key_options import add_cfg_options, add_model, model_config

EXAMPLE = """\
  keyprotect audit protected.py out/iter_20000.pth --minutes 1 -o audit
  keyprotect audit protected.py protected.pth --attacks un-key,fine-tuning --images 8 -o audit"""
AFTER_INTERRUPTION = 'run the same command again to continue'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    add_model(parser, 'config file, protected or with a private side')
    parser.add_argument(
        '--attacks',
        type=attack_names,
        default=list(ATTACKS),
        metavar='NAME,...',
        help=f'all, or a comma-separated list out of {", ".join(ATTACKS)}; default: all',
    )
    parser.add_argument('--minutes', type=float, default=5, metavar='N', help='time limit of each attack; default: 5')
    parser.add_argument(
        '--images',
        type=int,
        default=16,
        metavar='N',
        help='plain images with labels that the attacker has, and at most as many others encrypted; default: 16',
    )
    parser.add_argument(
        '--steps', type=int, default=200, metavar='N', help='limit of training steps of each attack; default: 200'
    )
    parser.add_argument(
        '--rates',
        type=int,
        default=RATES,
        metavar='N',
        help='learning rates that each training attack tries first, on a part of its images; default: 4',
    )
    parser.add_argument(
        '--queries',
        type=int,
        default=QUERIES,
        metavar='N',
        help=f'most crops that surrogate attacks ask the running model about; default: {QUERIES}',
    )
    parser.add_argument(
        '--own-model',
        metavar='CONFIG',
        help='config of the model that an attacker trains who steals none; default: one like this',
    )
    parser.add_argument(
        '--held-out', type=int, default=30, metavar='N', help='test images to measure attackers on; default: 30'
    )
    parser.add_argument(
        '--public-weights', metavar='FILE', help='checkpoint of the public model that this one was made from'
    )
    parser.add_argument(
        '-o', '--out', required=True, metavar='DIR', help='folder to make, or that of an earlier run to continue'
    )
    add_cfg_options(parser)


def attack_names(text: str) -> list[str]:
    """Return the attacks that ``--attacks`` names.

    Raises:
        argparse.ArgumentTypeError: One of them is unknown.
    """
    if text == 'all':
        return list(ATTACKS)
    names = [name.strip() for name in text.split(',')]
    unknown = [name for name in names if name not in ATTACKS]
    if unknown:
        raise argparse.ArgumentTypeError(
            f'Expected all, or attacks out of {", ".join(ATTACKS)}, but got {", ".join(unknown)}; correct the list.'
        )
    return names


def run(args: argparse.Namespace) -> None:
    """Run the attacks, print the table and the verdict."""
    from mmseg_keyprotect.audit.run import run_audit
    from mmseg_keyprotect.config.view import load_quietly

    report = run_audit(
        model_config(args),
        args.checkpoint,
        args.out,
        args.attacks,
        args.minutes,
        args.images,
        args.held_out,
        args.public_weights,
        f'keyprotect {shlex.join(args.words)}',
        args.steps,
        args.rates,
        args.queries,
        load_quietly(args.own_model) if args.own_model else None,
    )
    print(report.table())
    for finding in report.findings:
        print(f'{finding.attack}: {finding.sentence}')
    print(report.verdict)
    print(f'report: {args.out}/audit.html')
