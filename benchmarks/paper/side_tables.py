"""Tables on models with a public backbone and a private side network."""

from __future__ import annotations

from typing import Any

from benchmarks.paper.cells import Training
from benchmarks.paper.side_cells import RATE, PrivateSide, Whole
from benchmarks.paper.tables import Row, Table, make_table, spread

CAMVID = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
PSPNET = 'pspnet_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
VOC = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.6k_voc440-160x160'
SIDE = '_private-side'
SEEDS = (0, 1, 2)
WIDTHS = {0: 'the head alone', **{1 / part: f'private side, width 1/{part}' for part in (8, 4, 2)}}
CHANNELS = 128
"""Channels of the decode head of the whole model; those of the private sides have half as many."""
ITERATIONS = (600, 1200)
"""Iterations of the longer trainings on CamVid, where the config has 300."""
TUNING = (100, 101)
"""Seeds of the trainings that choose a rate; no other table has them."""
RATES = (0.0025, 0.005, 0.01, 0.02, 0.04)
"""Learning rates to choose from on VOC."""
WHOLE_RATE = 0.005
"""The best of them for the new layers of the whole model; that of private sides is ``RATE``, as on CamVid."""


def price_table(rows: list[Row]) -> str:
    """Return what a private side costs, against the whole model of the same seed and as many iterations."""
    fields = ['mIoU', 'price', 'private parameters', 'private arithmetic', 'seeds']
    cells = [cell for row in rows for cell in row.cells if isinstance(cell, Whole)]
    best = {_pair(one): one['mIoU'] for cell in cells if (one := cell.read())}

    def line(row: Row, results: list[dict]) -> list[str]:
        prices = [best[_pair(one)] - one['mIoU'] for one in results if _pair(one) in best]
        price = spread(prices, 1) if prices and not isinstance(row.cells[0], Whole) else ''
        one = results[0]
        parts = ['', ''] if 'private_macs' not in one else [_share(one, 'parameters'), _share(one, 'macs')]
        return [spread([result['mIoU'] for result in results], 1), price, *parts, f'{len(results)}']

    return make_table('trained', fields, rows, line)


def _pair(result: dict) -> tuple[str, int, int]:
    """Return the config of the whole model, the seed, and the number of iterations."""
    return result['config'].replace(SIDE, ''), result['seed'], result['iterations']


def rate_table(rows: list[Row]) -> str:
    """Return the mIoU of models by their learning rate, on training images that they never saw."""

    def line(row: Row, results: list[dict]) -> list[str]:
        return [spread(scores, 1) if scores else '' for scores in by_rate(row).values()]

    return make_table('trained', [f'{rate:g}' for rate in RATES], rows, line)


def by_rate(row: Row) -> dict[float, list[float]]:
    """Return the mIoU of every seed by the learning rate."""
    results = [(cell.rate, cell.read()) for cell in row.cells]
    return {rate: [one['mIoU'] for used, one in results if used == rate and one] for rate in RATES}


def _share(result: dict, what: str) -> str:
    """Return what the private part holds or computes, and its share of the whole model."""
    private, public = result[f'private_{what}'], result[f'public_{what}']
    return f'{private / 1e6:.2f} M ({100 * private / (private + public):.0f}%)'


def price_rows(config: str, rate: float | None = None) -> list[Row]:
    """Return the rows of the whole model and of private sides.

    Args:
        config: Name of the config, with ``{}`` in the place of the protection.
        rate: Learning rate of the heads of the whole model; None for ``RATE``.
    """
    return [
        whole_row(f'as a whole, new layers at {rate or RATE}', config, rate=rate),
        Row('as a whole, new layers at 0.001', [Training(config.format(''), seed) for seed in SEEDS]),
        *(private_row(label, config, width=width) for width, label in WIDTHS.items()),
    ]


def whole_row(label: str, config: str, **options: Any) -> Row:
    """Return a row of the whole model."""
    return Row(label, [Whole(config.format(''), seed, **options) for seed in SEEDS])


def private_row(label: str, config: str, **options: Any) -> Row:
    """Return a row of a private side."""
    return Row(label, [PrivateSide(config.format(SIDE), seed, **options) for seed in SEEDS])


def trials() -> list[Row]:
    """Return the rows of more reads, a larger head, a teacher, longer trainings, and of another model, on CamVid."""
    taught = [PrivateSide(CAMVID.format(SIDE), seed, teacher=Whole(CAMVID.format(''), seed)) for seed in SEEDS]
    side = 'private side, width 1/4'
    return [
        private_row(f'{side}, six stages', CAMVID, everywhere=True),
        private_row(f'the head alone, of {CHANNELS} channels', CAMVID, width=0, channels=CHANNELS),
        private_row(f'{side}, head of {CHANNELS} channels', CAMVID, channels=CHANNELS),
        Row(f'{side}, taught by the whole model', taught),
        *(
            row
            for count in ITERATIONS
            for row in (
                whole_row(f'as a whole, {count} iterations', CAMVID, iterations=count),
                private_row(f'{side}, {count} iterations', CAMVID, iterations=count),
            )
        ),
        whole_row('PSPNet, as a whole', PSPNET),
        private_row(f'PSPNet, {side}', PSPNET),
    ]


def rate_rows(config: str) -> list[Row]:
    """Return the rows of models that are trained with every rate, to choose one."""
    plain, side = config.format(''), config.format(SIDE)
    tried = [dict(seed=seed, rate=rate, held_out=True) for rate in RATES for seed in TUNING]
    few = [dict(seed=TUNING[0], rate=rate, held_out=True) for rate in RATES[-3:]]
    return [
        Row('as a whole', [Whole(plain, **one) for one in tried]),
        Row(WIDTHS[0], [PrivateSide(side, width=0, **one) for one in tried]),
        Row(WIDTHS[1 / 4], [PrivateSide(side, **one) for one in few]),
    ]


SIDES: dict[str, tuple[Table, list[Row]]] = {
    'private-side-camvid': (price_table, [*price_rows(CAMVID), *trials()]),
    'private-side-voc': (price_table, price_rows(VOC, WHOLE_RATE)),
    'private-side-rates': (rate_table, rate_rows(VOC)),
}
"""The tables by their names."""
