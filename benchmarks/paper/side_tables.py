"""Tables on models with a public backbone and a private side network."""

from __future__ import annotations

from statistics import mean

from benchmarks.paper.cells import Training
from benchmarks.paper.side_cells import PrivateSide, Surrogate, Whole
from benchmarks.paper.tables import Row, Table, make_table, spread

CAMVID = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
VOC = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.6k_voc440-160x160'
SIDE = '_private-side'
WIDTHS = {0: 'the head alone', **{1 / part: f'private side, width 1/{part}' for part in (8, 4, 2)}}
LABELS = (8, 40, 0)
QUERIES = (50, 500, 5000)
STEPS, LONG = 600, 1250
"""Training steps of attackers: ``LONG`` of them draw as many crops as the most queries."""


def price_table(rows: list[Row]) -> str:
    """Return what a private side costs; the first row is the model that is trained as a whole."""
    fields = ['mIoU', 'price', 'private parameters', 'private arithmetic', 'seeds']
    first = {result['seed']: result['mIoU'] for cell in rows[0].cells if (result := cell.read())}

    def line(row: Row, results: list[dict]) -> list[str]:
        prices = [first[result['seed']] - result['mIoU'] for result in results if result['seed'] in first]
        price = f'{mean(prices):.1f}' if prices and row is not rows[0] else ''
        one = results[0]
        parts = ['', ''] if 'private_macs' not in one else [_share(one, 'parameters'), _share(one, 'macs')]
        return [spread([result['mIoU'] for result in results], 1), price, *parts, f'{len(results)}']

    return make_table('trained', fields, rows, line)


def _share(result: dict, what: str) -> str:
    """Return what the private part holds or computes, and its share of the whole model."""
    private, public = result[f'private_{what}'], result[f'public_{what}']
    return f'{private / 1e6:.2f} M ({100 * private / (private + public):.0f}%)'


def surrogate_table(rows: list[Row]) -> str:
    """Return what attackers reach; the bound is what labels alone give."""
    fields = [
        'mIoU',
        'share of the victim',
        'agreement',
        f'multiple of the bound, 8 labels, {STEPS} steps',
        'all labels, same steps',
        'steps',
    ]
    found = {cell.name: result for row in rows for cell in row.cells if (result := cell.read())}

    def bound(labels: int, steps: int) -> float | None:
        names = [name for name in found if name.startswith(f'surrogate-labels-{labels or "all"}-{steps}-')]
        return found[names[0]]['mIoU'] if names else None

    def line(row: Row, results: list[dict]) -> list[str]:
        (one,) = results
        multiples = [bound(8, STEPS), bound(0, one['steps'])]
        return [
            f'{one["mIoU"]:.1f}',
            f'{100 * one["mIoU"] / one["victim"]:.0f}%',
            f'{one["agreement"]:.0f}%',
            *(f'{one["mIoU"] / limit:.2f}' if limit else '' for limit in multiples),
            f'{one["steps"]}',
        ]

    return make_table('the attacker has', fields, rows, line)


def prices(config: str, seeds: tuple[int, ...]) -> tuple[Table, list[Row]]:
    """Return the table of prices of a config, with ``{}`` in the place of the protection."""
    plain, side = config.format(''), config.format(SIDE)
    widths = WIDTHS if len(seeds) > 1 else {width: label for width, label in WIDTHS.items() if width}
    return price_table, [
        Row("as a whole, the heads' rate chosen as for the private sides", [Whole(plain, seed) for seed in seeds]),
        Row('as a whole, with the rates of the config', [Training(plain, seed) for seed in seeds]),
        *(Row(label, [PrivateSide(side, seed, width=width) for seed in seeds]) for width, label in widths.items()),
        Row('private side, width 1/4, six stages', [PrivateSide(side, seed, everywhere=True) for seed in seeds]),
    ]


def surrogates(config: str) -> tuple[Table, list[Row]]:
    """Return the table of attacks on the private side of a config."""
    side = config.format(SIDE)
    victim, own = PrivateSide(side, 0), Whole(config.format(''), 0)

    def row(label: str, labels: int = 0, queries: int = 0, scores: bool = False, steps: int = STEPS) -> Row:
        return Row(label, [Surrogate(side, 0, victim, own, labels, queries, scores, steps)])

    answers = {False: 'masks', True: 'scores'}
    return surrogate_table, [
        *(row(f'{count or "all 367"} labelled images: the bound', labels=count) for count in LABELS),
        row('all 367 labelled images: the bound', steps=LONG),
        *(
            row(f'{word} for {count} crops', queries=count, scores=scores, steps=LONG if count > STEPS else STEPS)
            for scores, word in answers.items()
            for count in QUERIES
        ),
    ]
