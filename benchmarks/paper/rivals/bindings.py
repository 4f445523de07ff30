"""Attack a model that is bound to a key beside a public model: the keys of images and of feature maps together."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.paper import rivals  # noqa: F401  makes mmseg importable
from mmseg_keyprotect.audit.attack import AttackResult, NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.protection.checkpoints import read_checkpoint
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel

CHAIN = ('weights-alone', 'public-channels')
"""Attacks that find the key of images and that of feature maps."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog='python -m benchmarks.paper.rivals.bindings', description=__doc__)
    parser.add_argument('config', help='configuration of the bound model')
    parser.add_argument('checkpoint', help='the bound model')
    parser.add_argument('--images', type=int, required=True, help='images that the attacker has')
    parser.add_argument('--held-out', type=int, required=True, help='test images that attackers are measured on')
    parser.add_argument('--public', required=True, help='checkpoint of the public model')
    parser.add_argument('-o', '--out', type=Path, required=True, help='JSON file to write')
    return parser


def main() -> None:
    """Run the attacks that apply, and measure what their keys reach together."""
    args = build_parser().parse_args()
    protected = ProtectedModel(load_quietly(args.config), args.checkpoint)
    images = TestImages(protected.cfg)
    scene = HeldOut(protected, images, args.held_out)
    target = open_target(protected, images, args.images, scene.indices, read_checkpoint(args.public)[0])
    together, shares = AttackResult('All keys together.'), {}
    for name in CHAIN:
        try:
            found = ATTACKS[name]().attack(target, Budget(60.0))
        except NotApplicable:
            continue
        together.key = found.key if found.key is not None else together.key
        together.features = found.features if found.features is not None else together.features
        shares |= {f'{name}: {share.part}': share.right for share in target.shares(found)}
    reference = scene.reference()
    result = dict(
        mIoU=scene.reached(together)[0], plain=reference['correct key'], alone=reference['no key'], shares=shares
    )
    replace_file(args.out, json.dumps(result) + '\n')


if __name__ == '__main__':
    main()
