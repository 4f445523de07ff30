"""Measure what the users of an access report cost beside as many inferences of the plain model, on CamVid.

Both take the same decoded image. ``one by one`` sends every user's image through the network alone; ``report`` is what
the report does: images of one size go together, and the pixels are counted. All take turns within one run, on one
thread. The weights are not trained, which changes no time.
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
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.protection.checkpoints import build_model

MODELS = {
    'SegFormer-B0': 'configs/segformer/segformer_mit-b0_1xb8-0.4k_camvid-160x160.py',
    'PSPNet, MobileNetV2': 'configs/pspnet/pspnet_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160.py',
}
BINDINGS: dict[str, dict[str, Any]] = {'images': {}, 'images and every stage': dict(features=dict(stages='all'))}
USERS = (4, 12, 31)
"""Numbers of users: with the correct key, without a key, and with wrong keys."""

IMAGE = 0


def evaluation_of(config: str, options: dict[str, Any], folder: Path) -> AccessEvaluation:
    """Return the evaluation of an untrained model, beside the unprotected one."""
    plain = Config.fromfile(config)
    cfg = Config(protected(plain.to_dict(), **options))
    paths = []
    for name, one in (('plain', plain), ('protected', cfg)):
        paths.append(str(folder / f'{name}.pth'))
        torch.save(dict(state_dict=build_model(one).state_dict()), paths[-1])
    return AccessEvaluation(cfg, paths[1], (plain, paths[0]), seed=1)


def alternatives(evaluation: AccessEvaluation, count: int) -> dict[str, Callable[[], Any]]:
    """Return the inferences of a number of users, in three ways."""
    users = [user for user in evaluation.users(count - 2, (), 0).values() if user.kind != 'baseline']
    batch = evaluation.images.batch(IMAGE)

    @torch.no_grad()
    def plain() -> None:
        for _ in users:
            evaluation.baseline.test_step(batch)

    def one_by_one() -> None:
        for user in users:
            evaluation.images.pixels(evaluation.protected.predict(user, batch))

    def report() -> None:
        for prediction in evaluation.predictions(users, IMAGE):
            evaluation.images.pixels(prediction)

    return {'plain': plain, 'one by one': one_by_one, 'report': report}


def main() -> None:
    """Measure, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--repeats', type=int, default=5, help='how often each alternative is timed; default: 5')
    parser.add_argument('--page', type=Path, help='Markdown page to write the table into, between its marks')
    args = parser.parse_args()
    torch.set_num_threads(1)
    ways = ['plain', 'one by one', 'report']
    heads = ['model, encrypted', 'users', *(f'{way} ms' for way in ways), *(f'{way} / plain' for way in ways[1:])]
    table = PrettyTable(heads, align='r')
    table.align['model, encrypted'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    with temporary_key() as folder:
        for model, config in MODELS.items():
            for binding, options in BINDINGS.items():
                evaluation = evaluation_of(config, options, folder)
                for count in USERS:
                    times = take_turns(alternatives(evaluation, count), args.repeats)
                    cells = [f'{one["ms"]:.0f} ({one["low"]:.0f} to {one["high"]:.0f})' for one in times.values()]
                    ratios = [f'{times[way]["ms"] / times["plain"]["ms"]:.2f}' for way in ways[1:]]
                    table.add_row([f'{model}, {binding}', count, *cells, *ratios])
    publish(dict(access=table.get_string()), args.page)


if __name__ == '__main__':
    main()
