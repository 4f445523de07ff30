"""Tables of docs/security/audit.md: what each attack reaches, and how many labelled images it needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import cycle, pairwise
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure
from prettytable import PrettyTable, TableStyle

from benchmarks.paper.tables import Row, spread

NOT_APPLICABLE = ('not applicable', 'not tried')
"""Verdicts on an attack that has nothing to attack; older results say ``not tried``."""


def audit_table(attacks: Sequence[str], rows: list[Row]) -> str:
    """Return a table of models by attacks: the mIoU in percent, the share of the key that was found, and the time."""
    table = _markdown(['key', 'correct key', 'no key', *attacks])
    for row in rows:
        results = [result for result in (cell.read() for cell in row.cells) if result is not None]
        if not results:
            table.add_row([row.label, *['missing'] * (len(attacks) + 2)])
            continue
        found = {name: one for result in results for name, one in result['attacks'].items()}
        reference = results[0]['reference']
        line = [_summary(found[name]) if name in found else '' for name in attacks]
        table.add_row([row.label, f'{reference["correct key"]:.1f}', f'{reference["no key"]:.1f}', *line])
    return table.get_string()


def _summary(finding: dict) -> str:
    """Return ``mIoU (shares of the key), time``, or ``-`` if the attack has nothing to attack."""
    if finding['verdict'] in NOT_APPLICABLE:
        return '-'
    shares = ', '.join(f'{share["part"]} {100 * share["right"]:.0f}%' for share in finding['shares'])
    return f'{finding["mIoU"]:.1f}{f" ({shares})" if shares else ""}, {finding["seconds"]:.0f} s'


def mixing_table(rows: list[Row]) -> str:
    """Return a table of dense keys, one line for each stage: how far least squares miss the key, in percent."""
    table = _markdown(['stage', 'channels', 'weights moved', 'error: orthogonal', 'linear', 'control'])
    for row in rows:
        result = row.cells[0].read()
        if result is None:
            continue
        for one in result['stages']:
            errors = (f'{100 * one[name]:.1f}%' for name in ('moved', 'orthogonal', 'linear', 'control'))
            table.add_row([f'{row.label}, stage {one["stage"]}', one['channels'], *errors])
        plain, mixed, recovered = (result[name] for name in ('plain', 'mixed', 'recovered'))
        scores = f'mIoU {plain:.1f} without a key, {mixed:.1f} as stored, {recovered:.1f} restored'
        table.add_row([f'{row.label}: {scores}', *[''] * 5])
    return table.get_string()


def cost_table(rows: list[Row]) -> str:
    """Return a table of the mIoU by the number of labelled images, with one row for each attack on a model."""
    counts = sorted({cell.images for row in rows for cell in row.cells})
    table = _markdown(['attack', *(f'{count} image{"s" * (count > 1)}' for count in counts), 'half-way at'])
    for label, reached, half in curves(rows):
        line = [f'{reached[count]:.1f}' if count in reached else '' for count in counts]
        table.add_row([label, *line, half_way(reached, half)])
    return table.get_string()


def budget_table(rows: list[Row]) -> str:
    """Return a table of the mIoU by the number of training steps, with one row for each attack on a model.

    Beside the mIoU stand its multiple of that of ``from-scratch`` in the same cell, and the agreement with the model.
    """
    counts = sorted({cell.steps for row in rows for cell in row.cells if cell.file.exists()})
    table = _markdown(['attack', 'correct key', *(f'{count} steps' for count in counts)])
    for label, found in budgets(rows):
        correct, *_ = (one['reference']['correct key'] for results in found.values() for one, _ in results)
        table.add_row([label, f'{correct:.1f}', *(_reached(found[n]) if n in found else '' for n in counts)])
    return table.get_string()


def budgets(rows: list[Row]) -> list[tuple[str, dict[int, list[tuple[dict, str]]]]]:
    """Return, for each attack on a model, its label, and results with the name of the attack by the number of steps."""
    found = []
    for row in rows:
        results = [(cell.steps, result) for cell in row.cells if (result := cell.read()) is not None]
        attacks = results[0][1]['attacks'] if results else {}
        for attack in (name for name, one in attacks.items() if one['mIoU'] is not None):  # None: not applicable
            by_steps: dict[int, list[tuple[dict, str]]] = {}
            for steps, result in results:
                by_steps.setdefault(steps, []).append((result, attack))
            found.append((f'{row.label}: {attack}', by_steps))
    return found


def _reached(results: list[tuple[dict, str]]) -> str:
    """Return ``mIoU (multiple of an own model, agreement)``, means over the results."""
    scores = [result['attacks'][attack]['mIoU'] for result, attack in results]
    own = mean(result['attacks']['from-scratch']['mIoU'] for result, _ in results)
    same = mean(result['attacks'][attack]['agreement'] for result, attack in results)
    return f'{spread(scores, 1)} ({mean(scores) / own:.2f} x, {same:.0f}%)'


def draw_budgets(rows: list[Row], path: Path) -> None:
    """Write a PNG plot of the mIoU by the number of training steps, one panel for each model with results."""
    rows = [row for row in rows if budgets([row])] or rows[:1]
    figure = Figure(figsize=(4 * len(rows), 3.6), layout='constrained')
    for row, axes in zip(rows, figure.subplots(1, len(rows), squeeze=False)[0], strict=True):
        axes.spines[['top', 'right']].set_visible(False)
        for (label, found), marker in zip(budgets([row]), 'osD', strict=False):
            points = [
                (steps, mean(one['attacks'][name]['mIoU'] for one, name in found[steps])) for steps in sorted(found)
            ]
            axes.plot(*zip(*points, strict=True), marker=marker, label=label.split(': ')[-1])
            reference = next(iter(found.values()))[0][0]['reference']
            axes.axhline(reference['correct key'], color='#8c8c8c', linestyle=':')
        axes.set(title=row.label, xscale='log', xlabel='training steps of the attacker', ylabel='mIoU, %')
        axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(frameon=False)
    figure.savefig(path, dpi=150, facecolor='white')


def curves(rows: list[Row]) -> list[tuple[str, dict[int, float], float]]:
    """Return one curve for each attack on a model.

    Returns:
        Tuples of a label, the mIoU by the number of images, and the mIoU half-way from the floor to the correct key.
    """
    found = []
    for row in rows:
        results = [(cell, result) for cell in row.cells if (result := cell.read()) is not None]
        for attack, first in results[0][1]['attacks'].items() if results else ():
            if first['mIoU'] is None:  # not applicable
                continue
            reached = {cell.images: result['attacks'][attack]['mIoU'] for cell, result in results}
            reference = results[0][1]['reference']
            half = (reference['correct key'] + reference['floor']) / 2
            found.append((f'{row.label}: {attack}', reached, half))
    return found


def half_way(reached: dict[int, float], half: float) -> str:
    """Return how many images reach an mIoU, interpolated on a logarithmic scale between two measurements."""
    counts = sorted(reached)
    if reached[counts[0]] >= half:
        return f'{counts[0]} or fewer'
    for fewer, more in pairwise(counts):
        if reached[more] >= half:
            part = (half - reached[fewer]) / (reached[more] - reached[fewer])
            return f'{math.exp(math.log(fewer) + part * math.log(more / fewer)):.0f}'
    return f'more than {counts[-1]}'


def draw_costs(rows: list[Row], path: Path) -> None:
    """Write a PNG plot of the mIoU by the number of labelled images; the dotted line is half-way to the correct key."""
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    axes.spines[['top', 'right']].set_visible(False)
    lines = curves(rows)
    for (label, reached, _), marker in zip(lines, cycle('osD^v'), strict=False):
        counts = sorted(reached)
        axes.plot(counts, [reached[count] for count in counts], marker=marker, label=label)
    if lines:
        axes.axhline(lines[0][2], color='#8c8c8c', linestyle=':')
    axes.set_xscale('log')
    axes.set_xlabel('labelled images that the attacker has')
    axes.set_ylabel('mIoU, %')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150, facecolor='white')


def _markdown(fields: list[str]) -> PrettyTable:
    table = PrettyTable(fields, align='r')
    table.align[fields[0]] = 'l'
    table.set_style(TableStyle.MARKDOWN)
    return table
