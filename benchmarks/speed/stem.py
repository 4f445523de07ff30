"""Measure the time and memory of a block stem, and of the whole model with it, against the plain model."""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from prettytable import PrettyTable, TableStyle
from torch import nn

import mmseg_keyprotect  # noqa: F401  registers
from benchmarks.speed.timing import begin_peak, memory
from mmseg_keyprotect.config.view import find_model, load_config
from mmseg_keyprotect.errors import BlockAlignmentError
from mmseg_keyprotect.files import write_new
from mmseg_keyprotect.models.backbones import adapter_of


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('configs', nargs='+', help='unprotected config files, or mmseg::...')
    parser.add_argument('--block-sizes', type=int, nargs='+', default=[4, 8, 16], help='default: 4 8 16')
    parser.add_argument(
        '--size', type=int, nargs=2, default=[512, 512], help='height and width of the image; default: 512 512'
    )
    parser.add_argument(
        '--repeats', type=int, default=7, help='number of runs, of which the fastest counts; default: 7'
    )
    parser.add_argument('--threads', type=int, default=1, help='threads of torch; default: 1')
    parser.add_argument('-o', '--out', help='JSON file to write')
    return parser.parse_args()


def build(config: str, block_size: int | None) -> nn.Module:
    """Build an untrained model; a block size gives it a block stem."""
    init_default_scope('mmseg')
    model = Config(dict(model=find_model(load_config(config)))).model
    if block_size is not None:
        model.update(type=f'Keyed{model.type}', block_stem=dict(block_size=block_size))
    return MODELS.build(model).eval()


def seconds(module: nn.Module, x: torch.Tensor) -> float:
    """Return the seconds of one forward pass."""
    start = time.perf_counter()
    with torch.no_grad():
        module(x)
    return time.perf_counter() - start


def peak_memory(config: str, block_size: int | None, size: list[int], threads: int) -> float:
    """Return the MiB that a model and a forward pass of one image need; call it in a process of its own."""
    torch.set_num_threads(threads)
    before = memory('VmRSS')
    begin_peak()
    model = build(config, block_size)
    with torch.no_grad():
        model._forward(torch.zeros(1, 3, *size))
    return memory('VmHWM') - before


def measure(config: str, args: argparse.Namespace) -> list[dict]:
    """Measure one model with its own stem and with block stems, which take turns."""
    models: dict[int | None, nn.Module] = {}
    for block_size in (None, *args.block_sizes):
        try:
            models[block_size] = build(config, block_size)
        except BlockAlignmentError:  # the block size is no multiple of the stride
            continue
    x = torch.rand(1, 3, *args.size)
    stems = {m: model.backbone.get_submodule(stem_of(model)) for m, model in models.items()}
    times: dict = {m: dict(stem=[], model=[]) for m in models}
    for _ in range(args.repeats + 1):
        for m, model in models.items():
            times[m]['stem'].append(seconds(stems[m], x))
            times[m]['model'].append(seconds(model._forward, x))
    rows = []
    with multiprocessing.get_context('spawn').Pool(1, maxtasksperchild=1) as pool:
        for m, model in models.items():
            peak = pool.apply(peak_memory, (config, m, args.size, args.threads))
            fastest = {what: 1000 * min(values[1:]) for what, values in times[m].items()}
            weights = sum(parameter.numel() for parameter in model.parameters()) / 1e6
            rows.append(
                dict(block_size=m, stem_ms=fastest['stem'], model_ms=fastest['model'], mb=peak, weights=weights)
            )
    return [{**row, **{f'{name}_ratio': row[name] / rows[0][name] for name in list(row)[1:]}} for row in rows]


def stem_of(model: nn.Module) -> str:
    """Return the name of a model's first convolution."""
    return adapter_of(model.backbone).first_convolution()


def main() -> None:
    """Measure, print the table and write the JSON file."""
    args = parse_args()
    torch.set_num_threads(args.threads)
    table = PrettyTable(['model', 'stem', 'stem ms', 'stem x', 'model ms', 'model x', 'MB', 'MB x', 'weights x'])
    table.set_style(TableStyle.MARKDOWN)
    results = {}
    for config in args.configs:
        name = Path(config).stem.split('_')
        results[Path(config).stem] = rows = measure(config, args)
        for row in rows:
            table.add_row(
                [
                    '_'.join(name[:2]),
                    'own' if row['block_size'] is None else f'M={row["block_size"]}',
                    f'{row["stem_ms"]:.1f}',
                    f'{row["stem_ms_ratio"]:.2f}',
                    f'{row["model_ms"]:.0f}',
                    f'{row["model_ms_ratio"]:.2f}',
                    f'{row["mb"]:.0f}',
                    f'{row["mb_ratio"]:.2f}',
                    f'{row["weights_ratio"]:.2f}',
                ]
            )
    print(table)
    if args.out:
        about = dict(size=args.size, threads=args.threads, repeats=args.repeats, torch=torch.__version__)
        write_new(args.out, json.dumps({**about, 'models': results}, indent=2) + '\n')


if __name__ == '__main__':
    main()
