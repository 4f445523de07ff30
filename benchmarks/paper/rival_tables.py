"""The leaderboard: published protections beside those of this project, under the same attacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from prettytable import PrettyTable, TableStyle

from benchmarks.paper.audit_cells import Audit
from benchmarks.paper.cells import Cell
from benchmarks.paper.rival_cells import Attacked, Chained, Costs, Sibling
from benchmarks.paper.tables import Row

KEY, PRICE, ALONE, COST, HIDDEN = 'with the key', 'price', 'file alone', 'forward x', 'hidden'
TUNED, OWN, BESIDE, THEN = 'fine-tuning, {} images', 'own attack', 'beside ImageNet', 'then {} images'
ATTACKS = [TUNED.format(8), TUNED.format(40), OWN, BESIDE, THEN.format(8)]
BEST, SIBLING = 'best of these', 'beside a sibling'
FIELDS = [KEY, PRICE, ALONE, COST, HIDDEN, *ATTACKS, BEST, SIBLING]

KEY_BYTES = 32
"""Size of the key of a bound model."""

OWN_ATTACKS = ('gains', 'outliers', 'norms')
"""Attacks on a rival that only some methods invite."""

OWN_AUDITS, PUBLIC_AUDITS = ('pictures-alone', 'norm-gain-signs'), ('weights-alone', 'public-channels')
"""Attacks of the audit on a bound model, without and with the public model."""

NOT_RUN = 'not run'


@dataclass(frozen=True)
class LeaderRow(Row):
    """One row of the leaderboard.

    Args:
        kind: A protected model; the unprotected one; the unprotected one in a sealed file; or, for comparison, models
            that attackers train when they have stolen nothing.
    """

    kind: Literal['protected', 'plain', 'sealed', 'nothing stolen'] = 'protected'


def leaderboard_table(rows: list[Row]) -> str:
    """Return the leaderboard: mIoU in percent on the held-out images, run time relative to the plain model.

    Args:
        rows: Rows of the leaderboard, of which the first is the unprotected model.
    """
    table = PrettyTable(['protection', *FIELDS], align='r')
    table.align['protection'] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    plain = None
    for row in rows:
        shown: dict[str, Any] = {}
        for cell in row.cells:
            for name, value in _entry(row, cell).items():
                known = shown.get(name, NOT_RUN)
                shown[name] = value if known == NOT_RUN else known if value == NOT_RUN else max(known, value)
        if row.kind == 'plain':
            plain = shown[KEY]
        elif isinstance(shown.get(KEY), float) and isinstance(plain, float):
            shown[PRICE] = plain - shown[KEY]
        if reached := {name: shown[name] for name in ATTACKS if isinstance(shown.get(name), float)}:
            best = max(reached, key=reached.__getitem__)
            shown[BEST] = f'**{reached[best]:.1f}**: {best}'
        table.add_row([row.label, *(_text(shown.get(name, '')) for name in FIELDS)])
    return table.get_string()


def _entry(row: LeaderRow, cell: Cell) -> dict[str, Any]:
    """Return what a cell says, by the name of the column; ``NOT_RUN`` for a cell without a result."""
    result = cell.read()
    if isinstance(cell, Costs):
        names = {one.rival for one in row.cells if isinstance(one, Attacked)}
        names |= {one.of.name for one in row.cells if isinstance(one, Audit)}
        return {COST: f'{result["ratios"][names.pop()]:.2f}' if result else NOT_RUN}
    if isinstance(cell, Audit):
        return _audited(row, cell, result)
    if isinstance(cell, Sibling):
        return {SIBLING: f'itself {result["mIoU"]:.1f}' if result else NOT_RUN}
    if isinstance(cell, Chained):
        return {BESIDE: result['mIoU'] if result else NOT_RUN}
    if cell.attack != 'access':
        column = _column(cell)
        if result and column == SIBLING:
            return {column: f'{result["mIoU"]:.1f} ({100 * result["error"]:.1f}% off)'}
        return {column: result['mIoU'] if result else NOT_RUN}
    if not result:
        return {KEY: NOT_RUN}
    if row.kind != 'protected':
        return {KEY: result['plain']} | ({HIDDEN: _size(result['file_bytes'])} if row.kind == 'sealed' else {})
    return {KEY: result['mIoU'], ALONE: result['alone'], HIDDEN: _size(result['hidden_bytes'])}


def _audited(row: LeaderRow, cell: Audit, result: dict[str, Any] | None) -> dict[str, Any]:
    """Return what an audit says of a bound model, or of the models that attackers train alone."""
    if not result:
        return {TUNED.format(cell.images): NOT_RUN}
    reached = {name: one['mIoU'] for name, one in result['attacks'].items()}
    if row.kind == 'nothing stolen':
        return {TUNED.format(cell.images): reached['from-scratch']}
    reference = result['reference']
    found = {KEY: reference['correct key'], ALONE: reference['no key'], HIDDEN: f'{KEY_BYTES} B'}
    found[TUNED.format(cell.images)] = reached['fine-tuning']
    for column, names in ((OWN, OWN_AUDITS), (BESIDE, PUBLIC_AUDITS)):
        if scores := [reached[name] for name in names if name in reached]:
            found[column] = max(scores)
    return found


def _column(cell: Attacked) -> str:
    """Return the column of an attack on a rival."""
    if cell.attack in OWN_ATTACKS:
        return OWN
    if cell.public == 'sibling':
        return SIBLING
    if cell.attack == 'beside':
        return BESIDE
    return (THEN if cell.public else TUNED).format(cell.images)


def _size(count: int) -> str:
    """Return a number of bytes in kB."""
    return f'{count / 1000:,.0f} kB' if count >= 10_000 else f'{count / 1000:.1f} kB'


def _text(value: Any) -> str:
    return f'{value:.1f}' if isinstance(value, float) else str(value)
