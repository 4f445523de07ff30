"""Time a forward pass of every protected model beside the plain one, in turns."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.paper.rivals import RIVALS
from benchmarks.paper.rivals.experiment import Experiment
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.session.model import ProtectedModel

SIZE = (1, 3, 180, 240)
"""The size of a test image of CamVid in a batch of one."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.paper.rivals.costs', description=__doc__)
    parser.add_argument('config', help='configuration of the plain model')
    parser.add_argument('checkpoint', help='the trained model')
    parser.add_argument(
        '--passports', nargs=2, required=True, metavar=('CONFIG', 'CHECKPOINT'), help='the model with passports'
    )
    parser.add_argument(
        '--bound',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a model that is bound to a key',
    )
    parser.add_argument('--repeats', type=int, default=15, help='turns; default: %(default)s')
    parser.add_argument('-o', '--out', type=Path, required=True, help='JSON file to write')
    return parser


@torch.no_grad()
def main() -> None:
    """Build the models and time them."""
    args = build_parser().parse_args()
    models: dict[str, torch.nn.Module] = {}
    for name in RIVALS:
        config, checkpoint = args.passports if name == 'deepipr' else (args.config, args.checkpoint)
        with torch.enable_grad():
            one = Experiment(load_quietly(config), checkpoint, name, images=1, steps=1, held_out=1)
        models[name] = one.rival.with_key(one.blank, one.file, one.secret).eval()
        if name != 'deepipr':
            models['plain'] = one.trained
    for name, config, checkpoint in args.bound:
        models[name] = ProtectedModel(load_quietly(config), checkpoint).model
    image = torch.rand(SIZE)
    times: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(args.repeats + 1):
        for name, model in models.items():
            start = time.process_time()  # of this process alone, so that others on the machine count less
            model(image, mode='tensor')
            if turn:
                times[name].append(1000 * (time.process_time() - start))
    plain = median(times['plain'])
    ratios = {name: round(median(one) / plain, 3) for name, one in times.items()}
    replace_file(args.out, json.dumps(dict(ratios=ratios, plain_ms=round(plain, 1))) + '\n')


if __name__ == '__main__':
    main()
