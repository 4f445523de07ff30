"""Measure what encrypted feature maps cost an inference, as they are applied and folded into the weights.

One image of 256 x 256 (SETR: 252 x 252), forward, on one thread, with weights that are not trained. All alternatives
take turns within one run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from prettytable import PrettyTable, TableStyle

from benchmarks.speed.keys import temporary_key
from benchmarks.speed.report import publish
from benchmarks.speed.timing import take_turns
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.protection.checkpoints import build_model

MODELS = {
    'SegFormer-B0': ('configs/segformer/segformer_mit-b0_1xb8-0.4k_camvid-160x160.py', 256),
    'PSPNet, MobileNetV2': ('configs/pspnet/pspnet_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160.py', 256),
    'SETR, ViT-S/14': ('configs/setr/setr_vit-s14_naive_1xb8-0.2k_camvid-168x168.py', 252),
}
PLACES: dict[str, dict[str, Any]] = {
    'every stage': dict(stages='all', cipher=dict(type='FeatureShuffle')),
    'every stage and block': dict(stages='all', blocks='all', cipher=dict(type='FeatureShuffle')),
}
CALLS = 4
"""Inferences that are timed at once."""


def alternatives(config: str, size: int) -> dict[str, Callable[[], Any]]:
    """Return inferences of the plain model, and of models with encrypted feature maps, applied and folded."""
    plain = Config.fromfile(config)
    models = {'plain': build_model(plain)}
    for where, features in PLACES.items():
        cfg = Config(protected(plain.to_dict(), None, features=features))
        models[where] = build_model(cfg)
        models[f'{where}, folded'] = build_model(cfg)
        models[f'{where}, folded'].fold()
    image, about = torch.randn(1, 3, size, size), [dict(img_shape=(size, size), pad_shape=(size, size))]

    def inference(model: torch.nn.Module) -> Callable[[], None]:
        @torch.no_grad()
        def run() -> None:
            for _ in range(CALLS):
                model.encode_decode(image, about)

        return run

    return {name: inference(model.eval()) for name, model in models.items()}


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=25, help='how often each alternative is timed; default: 25')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways = [f'{where}{how}' for where in PLACES for how in ('', ', folded')]
    table = PrettyTable(['model', 'plain ms', *ways], align='r')
    table.align['model'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    with temporary_key():
        for model, (config, size) in MODELS.items():
            times = take_turns(alternatives(config, size), args.repeats)
            plain = {name: times['plain'][name] / CALLS for name in ('ms', 'low', 'high')}
            ratios = [f'{times[way]["ms"] / times["plain"]["ms"]:.3f}' for way in ways]
            table.add_row([model, f'{plain["ms"]:.1f} ({plain["low"]:.1f} to {plain["high"]:.1f})', *ratios])
    publish(dict(features=table.get_string()), args.page)


if __name__ == '__main__':
    main()
