"""The table of attacks on a private side by models that are trained on labels, or on its answers."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.paper.audit_cells import Audit
from benchmarks.paper.side_cells import PrivateSide, Whole
from benchmarks.paper.side_tables import SIDE, WHOLE_RATE
from benchmarks.paper.tables import Row, Table, make_table

LABELS = (8, 40)
QUERIES = (50, 500, 5000)
SHORT, LONG = 600, 1250
"""Training steps of attackers: ``LONG`` of them draw as many crops as the most queries."""
ALL = 1000
"""More than the test images of any data set here."""
FROM_SCRATCH = 'from-scratch'
ANSWERS = {'surrogate-masks': 'masks', 'surrogate-scores': 'scores'}
"""The attacks on answers, and what the victim answers with."""


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


def surrogates(config: str, everything: int) -> tuple[Table, list[Row]]:
    """Return the table of attacks on the private side of a config.

    Args:
        config: Name of the config, on VOC, with ``{}`` in the place of the protection.
        everything: The number of its training images.
    """
    side = config.format(SIDE)
    victim, own = PrivateSide(side, 0), Whole(config.format(''), 0, rate=WHOLE_RATE)

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
