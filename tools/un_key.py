"""Attack a protected model as a thief of its weights would: train free layers in the place of the key."""

from __future__ import annotations

import argparse
import json
import sys
import time

import torch

import mmseg_keyprotect  # noqa: F401  registers
from mmseg_keyprotect.audit.un_key import score, train_un_key
from mmseg_keyprotect.engine.pipelines import load_quietly
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.files import write_new


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='protected config file')
    parser.add_argument('checkpoint', help='checkpoint of that config')
    parser.add_argument('--images', type=int, default=8, help='labelled plain images that the thief has; default: 8')
    parser.add_argument('--steps', type=int, default=200, help='training steps, 4 crops each; default: 200')
    parser.add_argument('--seed', type=int, default=0, help='of crops and flips')
    parser.add_argument('-o', '--out', required=True, help='the JSON file to make')
    return parser.parse_args()


def main() -> None:
    """Train the un-key, and say what it reaches."""
    args = parse_args()
    torch.manual_seed(args.seed)
    try:
        cfg = load_quietly(args.config)
        evaluation = AccessEvaluation(cfg, args.checkpoint)
        start = time.monotonic()
        un_key = train_un_key(evaluation, cfg, args.images, args.steps, args.seed)
        result = dict(images=args.images, steps=args.steps, seconds=round(time.monotonic() - start))
        result['mIoU'] = score(un_key)
        write_new(args.out, json.dumps(result) + '\n')
    except KeyProtectError as error:
        sys.exit(f'error: {error}')
    print(f'{result["mIoU"]:.2f} mIoU with {args.images} labelled images, after {result["seconds"]} s')


if __name__ == '__main__':
    main()
