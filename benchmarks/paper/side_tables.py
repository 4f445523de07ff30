"""Tables on models with a public backbone and a private side network."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

from benchmarks.paper.audit_cells import Audit
from benchmarks.paper.cells import Training
from benchmarks.paper.side_cells import PrivateSide, Whole
from benchmarks.paper.tables import Row, Table, make_table, spread

CAMVID = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.3k_camvid-160x160'
VOC = 'deeplabv3plus_mobilenet-v2-d16{}_1xb8-0.6k_voc440-160x160'
SIDE = '_private-side'
WIDTHS = {0: 'the head alone', **{1 / part: f'private side, width 1/{part}' for part in (8, 4, 2)}}
LABELS = (8, 40)
QUERIES = (50, 500, 5000)
SHORT, LONG = 600, 1250
"""Training steps of attackers: ``LONG`` of them draw as many crops as the most queries."""
CHANNELS = 128
"""Channels of the decode head of the whole model; those of the private sides have half as many."""
ITERATIONS = 600
"""Iterations of the longer trainings on CamVid, twice as many as those of the config."""
ALL = 1000
"""More than the test images of any data set here."""
FROM_SCRATCH = 'from-scratch'
ANSWERS = {'surrogate-masks': 'masks', 'surrogate-scores': 'scores'}
"""The attacks on answers, and what the victim answers with."""


def price_table(rows: list[Row]) -> str:
    """Return what a private side costs, against the whole model of the same seed and as many iterations."""
    fields = ['mIoU', 'price', 'private parameters', 'private arithmetic', 'seeds']
    cells = [cell for row in rows for cell in row.cells if isinstance(cell, Whole)]
    whole = {(one['seed'], one['iterations']): one['mIoU'] for cell in cells if (one := cell.read())}

    def line(row: Row, results: list[dict]) -> list[str]:
        pairs = [(whole.get((one['seed'], one['iterations'])), one['mIoU']) for one in results]
        prices = [most - found for most, found in pairs if most is not None]
        price = f'{mean(prices):.1f}' if prices and not isinstance(row.cells[0], Whole) else ''
        one = results[0]
        parts = ['', ''] if 'private_macs' not in one else [_share(one, 'parameters'), _share(one, 'macs')]
        return [spread([result['mIoU'] for result in results], 1), price, *parts, f'{len(results)}']

    return make_table('trained', fields, rows, line)


def _share(result: dict, what: str) -> str:
    """Return what the private part holds or computes, and its share of the whole model."""
    private, public = result[f'private_{what}'], result[f'public_{what}']
    return f'{private / 1e6:.2f} M ({100 * private / (private + public):.0f}%)'


@dataclass(frozen=True)
class AttackRow(Row):
    """One attack of an audit.

    Args:
        attack: Its name.
    """

    attack: str = FROM_SCRATCH


def surrogate_table(rows: list[AttackRow]) -> str:
    """Return what attackers reach, as multiples of the bound: what labels alone give."""
    few = min(row.cells[0].images for row in rows)
    fields = [
        'mIoU',
        'share of the victim',
        'agreement',
        f'multiple of the bound, {few} labels, {SHORT} steps',
        'all labels, same steps',
    ]
    fields += ['crops asked about', 'steps']
    audits = {row.cells[0]: row.attack for row in rows}

    def bound(images: int, steps: int) -> float | None:
        for cell, attack in audits.items():
            if attack == FROM_SCRATCH and (cell.images, cell.steps) == (images, steps) and (result := cell.read()):
                return result['attacks'][attack]['mIoU']
        return None

    everything = max(cell.images for cell in audits)

    def line(row: AttackRow, results: list[dict]) -> list[str]:
        found, victim = results[0]['attacks'][row.attack], results[0]['reference']['whole model']
        steps = row.cells[0].steps
        limits = [bound(few, SHORT), bound(everything, steps)]
        return [
            f'{found["mIoU"]:.1f}',
            f'{100 * found["mIoU"] / victim:.0f}%',
            f'{found["agreement"]:.0f}%',
            *(f'{found["mIoU"] / limit:.2f}' if limit else '' for limit in limits),
            f'{found["queries"]}' if found['queries'] else '',
            f'{steps}',
        ]

    return make_table('the attacker has', fields, rows, line)


def prices(config: str, seeds: tuple[int, ...]) -> tuple[Table, list[Row]]:
    """Return the table of prices of a config, with ``{}`` in the place of the protection."""
    plain, side = config.format(''), config.format(SIDE)
    return price_table, [
        Row("as a whole, the heads' rate chosen as for the private sides", [Whole(plain, seed) for seed in seeds]),
        Row('as a whole, with the rates of the config', [Training(plain, seed) for seed in seeds]),
        *(Row(label, [PrivateSide(side, seed, width=width) for seed in seeds]) for width, label in WIDTHS.items()),
        Row('private side, width 1/4, six stages', [PrivateSide(side, seed, everywhere=True) for seed in seeds]),
        *(trials(plain, side, seeds) if len(seeds) > 1 else ()),
    ]


def trials(plain: str, side: str, seeds: tuple[int, ...]) -> list[Row]:
    """Return the rows of a larger head, of a teacher, and of a longer training."""
    taught = [PrivateSide(side, seed, teacher=Whole(plain, seed)) for seed in seeds]
    longer = [PrivateSide(side, seed, iterations=ITERATIONS) for seed in seeds]
    wide = {width: [PrivateSide(side, seed, width=width, channels=CHANNELS) for seed in seeds] for width in (0, 0.25)}
    return [
        *(Row(f'{WIDTHS[width]}, head of {CHANNELS} channels', cells) for width, cells in wide.items()),
        Row('private side, width 1/4, taught by the whole model', taught),
        Row(f'as a whole, {ITERATIONS} iterations', [Whole(plain, seed, iterations=ITERATIONS) for seed in seeds]),
        Row(f'private side, width 1/4, {ITERATIONS} iterations', longer),
    ]


def surrogates(config: str, everything: int) -> tuple[Table, list[Row]]:
    """Return the table of attacks on the private side of a config, with ``everything`` training images."""
    side = config.format(SIDE)
    victim, own = PrivateSide(side, 0), Whole(config.format(''), 0)

    def row(label: str, word: str, attack: str, steps: int, images: int = everything, queries: int = 1) -> AttackRow:
        limits = dict(minutes=60, steps=steps, images=images, held_out=ALL, queries=queries)
        cell = Audit(side, 0, of=victim, word=f'{word}-{steps}', attacks=(attack,), own=own, **limits)
        return AttackRow(label, [cell], attack)

    bounds = [(count, SHORT) for count in (*LABELS, everything)] + [(everything, LONG)]
    answers = [(attack, word, count) for attack, word in ANSWERS.items() for count in QUERIES]
    return surrogate_table, [
        *(
            row(f'{count} labelled images, {steps} steps: the bound', 'labels', FROM_SCRATCH, steps, count)
            for count, steps in bounds
        ),
        *(
            row(
                f'{word} for at most {count} crops',
                f'{word}-{count}',
                attack,
                LONG if count > SHORT else SHORT,
                queries=count,
            )
            for attack, word, count in answers
        ),
    ]
