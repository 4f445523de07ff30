"""Train a small model, bind it to a key, and show the mIoU with the key, without it, and with wrong keys."""

from __future__ import annotations

import argparse

EXAMPLE = """\
  keyprotect demo
  keyprotect demo --data path/to/camvid"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument('--data', metavar='DIR', help='folder of CamVid; default: draw a small data set')
    parser.add_argument('--config', metavar='FILE', help='another unprotected config, for the same data')
    parser.add_argument('--wrong-keys', type=int, default=5, metavar='N', help='how many random keys; default: 5')
    parser.add_argument(
        '-o', '--out', default='work_dirs/demo', metavar='DIR', help='folder for what it makes; default: work_dirs/demo'
    )


def run(args: argparse.Namespace) -> None:
    """Run the demo, print the table and the verdict."""
    from mmseg_keyprotect.demo.run import run_demo
    from mmseg_keyprotect.evaluation.evaluate import GALLERY, REPORT

    report, folder = run_demo(args.out, args.data, args.config, args.wrong_keys)
    print(report.table())
    print(report.verdict)
    print(f'report: {folder / REPORT}\ngallery: {folder / GALLERY}')
