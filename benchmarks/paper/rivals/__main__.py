"""Protect a trained model by a rival method, attack it, and write the result as JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.paper.rivals import RIVALS
from benchmarks.paper.rivals.experiment import ATTACKS, Experiment
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.files import replace_file


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.paper.rivals', description=__doc__)
    parser.add_argument('config', help='configuration of the plain model')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument('--rival', choices=list(RIVALS), required=True, help='the method')
    parser.add_argument('--attack', choices=list(ATTACKS), required=True, help='what to measure')
    parser.add_argument('--images', type=int, required=True, help='labelled images that the attacker has')
    parser.add_argument('--steps', type=int, required=True, help='training steps of the attack')
    parser.add_argument('--held-out', type=int, required=True, help='test images that attackers are measured on')
    parser.add_argument('--public', help='checkpoint of the public model; default: the attacker has none')
    parser.add_argument('-o', '--out', type=Path, required=True, help='JSON file to write')
    return parser


def main() -> None:
    """Run one experiment."""
    args = build_parser().parse_args()
    experiment = Experiment(
        load_quietly(args.config), args.checkpoint, args.rival, args.images, args.steps, args.held_out, args.public
    )
    replace_file(args.out, json.dumps(ATTACKS[args.attack](experiment)) + '\n')


if __name__ == '__main__':
    main()
