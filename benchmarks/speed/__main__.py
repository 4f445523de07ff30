"""Measure the cost of encryption, alone and inside MMSegmentation.

The ciphers are compared with the published implementation, with plain numpy code and with a copy of the image. All
alternatives take turns within one run; the tables show the median and the quartiles. CamVid is read from data/.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from pathlib import Path

import torch

from benchmarks.speed.ciphers import measure_all
from benchmarks.speed.keys import temporary_key
from benchmarks.speed.report import cipher_table, mmseg_table, publish, sealing_table, target_table
from benchmarks.speed.sealing import measure_sealing
from benchmarks.speed.training import measure_inference, measure_pipeline, measure_step
from mmseg_keyprotect.files import replace_file

ROOT = Path(__file__).resolve().parents[2]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--repeats', type=int, default=15, help='how often each alternative is timed; default: 15')
    parser.add_argument(
        '--threads',
        type=int,
        nargs='+',
        default=sorted({1, os.cpu_count() or 1}),
        help='numbers of threads; default: 1 and one for each core',
    )
    parser.add_argument('--skip-mmseg', action='store_true', help='measure the ciphers alone, without CamVid')
    parser.add_argument('--page', type=Path, help='Markdown page to write the tables into, between its marks')
    parser.add_argument(
        '-o',
        '--out',
        type=Path,
        default=Path('work_dirs/benchmark'),
        help='folder for benchmark.json; default: work_dirs/benchmark',
    )
    return parser.parse_args()


def main() -> None:
    """Measure, print the tables and write them."""
    args = parse_args()
    os.chdir(ROOT)
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict = dict(
        machine=f'{platform.machine()}, {os.cpu_count()} cores', torch=torch.__version__, repeats=args.repeats
    )
    result['ciphers'] = []
    for row in measure_all(args.threads, args.repeats):
        result['ciphers'].append(row)
        print('.', end='', file=sys.stderr, flush=True)
    tables = {'ciphers': cipher_table(result['ciphers']), 'targets': target_table(result['ciphers'])}
    if not args.skip_mmseg:
        torch.set_num_threads(1)
        with temporary_key():
            result['pipeline'] = measure_pipeline(args.repeats)
            result['step'] = measure_step(args.repeats)
            result['inference'] = measure_inference(args.repeats)
            result['sealing'] = measure_sealing(args.repeats)
        tables['mmseg'] = mmseg_table(result)
        tables['sealing'] = sealing_table(result)
    replace_file(args.out / 'benchmark.json', json.dumps(result) + '\n')
    publish(tables, args.page)


if __name__ == '__main__':
    main()
