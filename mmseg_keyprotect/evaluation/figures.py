"""The figures of the access report."""

from __future__ import annotations

from collections.abc import Callable
from statistics import stdev

from matplotlib.axes import Axes

from mmseg_keyprotect.evaluation.draws import decimals
from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.evaluation.rows import AccessRow
from mmseg_keyprotect.evaluation.svg import HEIGHT, Draw, legend_below

COLOURS = {  # distinguishable with colour blindness (Okabe and Ito), on white and on black
    'baseline': '#8c8c8c',
    'correct': '#3b8fd0',
    'none': '#e69f00',
    'wrong': '#d55e00',
    'partly': '#009e73',
}


def draw_keys(axes: Axes, report: AccessReport) -> str:
    """Draw the mIoU of every user beside the floor, one dot for each wrong key; return a text alternative."""
    users = [(row.who, row.kind, [row.scores.mIoU], f'{row.scores.mIoU:.1f}') for row in main_rows(report)]
    if report.wrong:
        miou = report.wrong.miou
        shown = f'mean {miou.shown(miou.mean)}\nworst {miou.shown(miou.worst)}'
        users.append((f'wrong keys,\n{len(miou.values)} draws', 'wrong', list(miou.values), shown))
    for place, (_, kind, values, shown) in enumerate(users):
        axes.scatter(values, [place] * len(values), s=50, alpha=0.6, color=COLOURS[kind], edgecolors='none')
        axes.annotate(shown, (1.02, place), xycoords=('axes fraction', 'data'), va='center')
    axes.axvline(report.floor_miou, color=COLOURS['baseline'], linestyle=':', label='floor: majority-class baseline')
    axes.set_yticks(range(len(users)), [who for who, *_ in users])
    axes.set_ylim(len(users) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.set_xlabel('mIoU, %')
    legend_below(axes)
    return (
        f'mIoU of every user, a dot for each wrong key: {report.correct.mIoU:.1f} with the correct key, at most '
        f'{report.shown_best} without it ({report.best_unauthorised.who}). The floor is {report.floor_miou:.1f}.'
    )


def draw_partly(axes: Axes, report: AccessReport) -> str:
    """Draw the mIoU by the known share of the key, a dot for each draw; return a text alternative."""
    points = [(0, report.wrong.miou)] if report.wrong else []
    points += [(group.known, group.miou) for group in report.partly]
    for known, miou in points:
        axes.scatter([known] * len(miou.values), miou.values, s=25, alpha=0.6, color=COLOURS['partly'], linewidths=0)
    means = [*((known, miou.mean) for known, miou in points), (100, report.correct.mIoU)]
    axes.plot(*zip(*means, strict=True), color=COLOURS['partly'], label='mean; dots: single keys')
    for row in report.of('baseline'):
        axes.axhline(row.scores.mIoU, color=COLOURS['baseline'], linestyle='--', label=row.who)
    axes.axhline(report.floor_miou, color=COLOURS['baseline'], linestyle=':', label='floor')
    axes.set_ylim(bottom=0)
    axes.set_xlabel('known positions of the key, %; the others are guessed')
    axes.set_ylabel('mIoU, %')
    legend_below(axes)
    texts = [
        f'{known}%: {miou.shown(miou.mean)}, at worst {miou.shown(miou.worst)} ({len(miou.values)} draws)'
        for known, miou in points
    ]
    return f'Mean mIoU by the known share of the key. {"; ".join(texts)}; 100%: {report.correct.mIoU:.1f}.'


def draw_classes(axes: Axes, report: AccessReport) -> str:
    """Draw the IoU of every class for the main users and the worst wrong key; return a text alternative."""
    rows = [*main_rows(report), *([report.worst_case] if report.worst_case else [])]
    height = 0.8 / len(rows)
    for place, row in enumerate(rows):
        at = [index + (place - (len(rows) - 1) / 2) * height for index in range(len(report.classes))]
        values = [value or 0 for value in row.scores.IoU]
        axes.barh(at, values, height, color=COLOURS[row.kind], label=title_of(row, report))
    axes.set_yticks(range(len(report.classes)), report.classes)
    axes.set_ylim(len(report.classes) - 0.5, -0.5)
    axes.set_xlabel('IoU, %')
    legend_below(axes)
    return f'IoU of {len(report.classes)} classes for {", ".join(title_of(row, report) for row in rows)}.'


def main_rows(report: AccessReport) -> list[AccessRow]:
    """Return the rows that are measured once: unprotected model, correct key, no key."""
    return [row for kind in ('baseline', 'correct', 'none') for row in report.of(kind)]


def title_of(row: AccessRow, report: AccessReport) -> str:
    """Return the name of a user; of a wrong key with the number of draws that it is the worst of."""
    return f'{row.who}, worst of {len(report.of("wrong"))}' if row.kind == 'wrong' else row.who


def class_table(report: AccessReport) -> tuple[list[str], list[list[str]]]:
    """Return the names of the main users, and for every class its name and their IoU as text."""
    rows = [*main_rows(report), *([report.worst_case] if report.worst_case else [])]
    lines = []
    for index, name in enumerate(report.classes):
        drawn = [value for row in report.of('wrong') if (value := row.scores.IoU[index]) is not None]
        digits = {'wrong': decimals(stdev(drawn) if len(drawn) > 1 else None)}
        values = [(row.scores.IoU[index], digits.get(row.kind, 1)) for row in rows]
        lines.append([name, *('-' if value is None else f'{value:.{places}f}' for value, places in values)])
    return [title_of(row, report) for row in rows], lines


FIGURES: dict[str, tuple[str, Callable[[Axes, AccessReport], str]]] = {
    'keys': ('mIoU of every user', draw_keys),
    'partly': ('mIoU with a part of the key', draw_partly),
    'classes': ('IoU of every class', draw_classes),
}


def figures_of(report: AccessReport) -> dict[str, tuple[str, Draw, float]]:
    """Return the figures that a report has: title, function to draw and height in inches, by name."""
    heights = {'keys': 2.7, 'classes': 1.4 + 0.45 * len(report.classes)}

    def draw(name: str) -> Draw:
        return lambda axes: FIGURES[name][1](axes, report)

    names = [name for name in FIGURES if report.rows and (name != 'partly' or report.partly)]
    return {name: (FIGURES[name][0], draw(name), heights.get(name, HEIGHT)) for name in names}
