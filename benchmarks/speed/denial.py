"""Measure a training step with denial beside one without, for SegFormer-B0 on CamVid with a batch of 8.

Images are encrypted, and feature maps where the name says so. All alternatives take turns within one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS, MODELS
from prettytable import PrettyTable, TableStyle

from benchmarks.speed.keys import temporary_key
from benchmarks.speed.timing import take_turns
from benchmarks.speed.training import STEM

EVERY_STAGE = dict(stages='all')
MODELS_BESIDE = {
    'images': (dict(), None),
    'images, denial': (dict(), dict()),
    'images, denial of half of them': (dict(), dict(share=0.5)),
    'images and every stage': (dict(feature_encryption=EVERY_STAGE), None),
    'images and every stage, denial': (dict(feature_encryption=EVERY_STAGE), dict()),
}
"""Options of the model, and its denial, by the name of the alternative."""


def steps() -> dict[str, Callable[[], Any]]:
    """Return a training step for every alternative."""
    cfg = Config.fromfile(STEM)
    init_default_scope('mmseg')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    batch = pseudo_collate([dataset[index] for index in range(8)])

    def step(options: dict[str, Any], denial: dict[str, Any] | None) -> Callable[[], None]:
        model = MODELS.build({**cfg.model, **options, 'denial': denial}).train()
        optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
        return lambda: model.train_step(batch, optimizer)

    return {name: step(*settings) for name, settings in MODELS_BESIDE.items()}


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=9, help='how often each alternative is timed; default: 9')
    args = parser.parse_args()
    torch.set_num_threads(1)
    with temporary_key():
        times = take_turns(steps(), args.repeats)
    table = PrettyTable(['training step, batch of 8', 'ms (quartiles)', 'times'], align='r')
    table.align['training step, batch of 8'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    for name, one in times.items():
        without = times[name.partition(', denial')[0]]['ms']
        table.add_row([name, f'{one["ms"]:.0f} ({one["low"]:.0f} to {one["high"]:.0f})', f'{one["ms"] / without:.2f}'])
    print(table)


if __name__ == '__main__':
    main()
