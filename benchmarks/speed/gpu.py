"""Measure the ciphers on a GPU, in both directions, beside a copy of the images.

The alternatives take turns within one run. CUDA events time 20 calls at once, so that the start of a kernel counts as
it does in a training, where the next one waits in the queue.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from prettytable import PrettyTable, TableStyle

from benchmarks.paper.tables import write_table
from benchmarks.speed.ciphers import CIPHERS, TYPES
from benchmarks.speed.timing import summary
from mmseg_keyprotect.ciphers import build_cipher
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys import SecretKey

SHAPES = ((8, 3, 512, 1024), (8, 3, 1024, 2048))
BLOCK_SIZES = (4, 16)
CALLS = 20


def microseconds(alternatives: dict[str, Callable[[], Any]], turns: int) -> dict[str, dict[str, float]]:
    """Time every alternative once in each turn, after one turn that warms up.

    Args:
        alternatives: Functions that start work on the GPU, by name.
        turns: Number of turns that count.

    Returns:
        For each name the median ``us`` and the quartiles ``low`` and ``high``, in microseconds for one call.
    """
    times: dict[str, list[float]] = {name: [] for name in alternatives}
    for turn in range(turns + 1):
        for name, run in alternatives.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(CALLS):
                run()
            end.record()
            torch.cuda.synchronize()
            if turn:
                times[name].append(1000 * start.elapsed_time(end) / CALLS)
    return {name: summary(values, 'us', 2) for name, values in times.items()}


def measure(words: list[str], block_size: int, shape: tuple[int, ...], turns: int) -> dict[str, Any]:
    """Time one cipher on uint8 images (N, C, H, W)."""
    cfg = [dict(type=TYPES[word], block_size=block_size, allow_weak=True) for word in words]
    cipher = build_cipher(cfg, SecretKey.from_bytes(bytes(32)), 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, device='cuda')
    encrypted = cipher.encrypt(images)
    assert torch.equal(cipher.decrypt(encrypted), images)
    alternatives = dict(
        encrypt=lambda: cipher.encrypt(images), decrypt=lambda: cipher.decrypt(encrypted), copy=images.clone
    )
    return dict(cipher='+'.join(words), block_size=block_size, shape=shape, times=microseconds(alternatives, turns))


def table_of(rows: list[dict[str, Any]]) -> str:
    """Return the Markdown table."""
    table = PrettyTable(['cipher, M, images', 'encrypt us', 'decrypt us', 'copy us', 'share of the copy bandwidth'])
    table.set_style(TableStyle.MARKDOWN)
    for row in rows:
        times = row['times']
        cells = [f'{times[name]["us"]:.0f} ({times[name]["low"]:.0f} to {times[name]["high"]:.0f})' for name in times]
        share = [times['copy']['us'] / times[name]['us'] for name in ('encrypt', 'decrypt')]
        what = f'{row["cipher"]}, {row["block_size"]}, {"x".join(map(str, row["shape"]))}'
        table.add_row([what, *cells, f'{share[0]:.0%} and {share[1]:.0%}'])
    return table.get_string()


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--turns', type=int, default=15, help='how often each alternative is timed; default: 15')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    parser.add_argument('-o', '--out', type=Path, required=True, help='the JSON file to make')
    args = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error('expected a GPU, but torch finds none')
    rows = [measure(list(c), m, shape, args.turns) for shape in SHAPES for m in BLOCK_SIZES for c in CIPHERS]
    result = dict(device=torch.cuda.get_device_name(), torch=torch.__version__, turns=args.turns, rows=rows)
    replace_file(args.out, json.dumps(result) + '\n')
    table = table_of(rows)
    print(table)
    if args.page:
        replace_file(args.page, write_table(args.page.read_text(), 'gpu', table))


if __name__ == '__main__':
    main()
