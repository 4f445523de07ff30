"""Draw the figures of the access report, as PNG files for papers and as SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mmseg_keyprotect.evaluation.report import AccessReport

COLOURS = {  # distinguishable with colour blindness (Okabe and Ito), on white and on black
    'baseline': '#8c8c8c',
    'correct': '#3b8fd0',
    'none': '#e69f00',
    'wrong': '#d55e00',
    'partly': '#009e73',
}
_PAGE_INK = '#010203'  # a placeholder, replaced by currentColor, the text colour of the page


def draw_keys(axes: Axes, report: AccessReport) -> str:
    """Draw the mIoU of every key beside that of the unprotected model and the floor; return a text alternative."""
    wrong = sorted(report.of('wrong'), key=lambda row: -row.scores.mIoU)
    rows = [*report.of('correct'), *report.of('none'), *wrong]
    axes.bar(range(len(rows)), [row.scores.mIoU for row in rows], color=[COLOURS[row.kind] for row in rows])
    _lines(axes, report)
    labels = {'correct': 'correct key', 'none': 'no key'}
    axes.set_xticks(range(len(rows)), [labels.get(row.kind, row.who.split()[-1]) for row in rows], rotation=60)
    axes.set_xlabel(f'{len(wrong)} wrong keys by number, best first')
    axes.set_ylabel('mIoU, %')
    best = report.best_unauthorised
    return (
        f'mIoU of every key: {report.correct.mIoU:.1f} with the correct key, at most {best.scores.mIoU:.1f} without it '
        f'({best.who}). The floor, the majority-class baseline, is {report.floor_miou:.1f}.'
    )


def draw_partly(axes: Axes, report: AccessReport) -> str:
    """Draw the mIoU by the known share of the key; return a text alternative."""
    points = [(int(row.who.split('%')[0]), row.scores.mIoU) for row in report.of('partly')]
    wrong = [row.scores.mIoU for row in report.of('wrong')]
    if wrong:
        points.append((0, sum(wrong) / len(wrong)))
    points = sorted([*points, (100, report.correct.mIoU)])
    axes.plot(*zip(*points, strict=True), marker='o', color=COLOURS['partly'])
    _lines(axes, report)
    axes.set_xlabel('known positions of the key, %; the others are guessed')
    axes.set_ylabel('mIoU, %')
    return 'mIoU by the known share of the key: ' + ', '.join(f'{x}%: {y:.1f}' for x, y in points) + '.'


def draw_classes(axes: Axes, report: AccessReport) -> str:
    """Draw the IoU of every class for the main users and the best wrong key; return a text alternative."""
    rows = [row for kind in ('baseline', 'correct', 'none') for row in report.of(kind)]
    if report.worst_case:
        rows.append(report.worst_case)
    height = 0.8 / len(rows)
    for place, row in enumerate(rows):
        at = [index + (place - (len(rows) - 1) / 2) * height for index in range(len(report.classes))]
        values = [value or 0 for value in row.scores.IoU]
        axes.barh(at, values, height, color=COLOURS[row.kind], label=row.who)
    axes.set_yticks(range(len(report.classes)), report.classes)
    axes.invert_yaxis()
    axes.set_xlabel('IoU, %')
    axes.legend(frameon=False)
    return f'IoU of {len(report.classes)} classes for {", ".join(row.who for row in rows)}.'


FIGURES: dict[str, tuple[str, Callable[[Axes, AccessReport], str]]] = {
    'keys': ('mIoU of every key', draw_keys),
    'partly': ('mIoU with a part of the key', draw_partly),
    'classes': ('IoU of every class', draw_classes),
}


def to_png(name: str, report: AccessReport, path: Path) -> None:
    """Write one figure as a PNG file, 200 dots per inch, on white."""
    _figure(name, report, '#222222')[0].savefig(path, dpi=200, facecolor='white')


def to_svg(name: str, report: AccessReport) -> tuple[str, str]:
    """Return one figure as an SVG element for an HTML page, and its text alternative."""
    figure, alternative = _figure(name, report, _PAGE_INK)
    text = StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name, 'font.family': 'sans-serif'}):
        figure.savefig(text, format='svg', transparent=True, metadata={'Date': None, 'Creator': None})
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :].replace(_PAGE_INK, 'currentColor')
    for used in ('id="', '"#', 'url(#'):  # ids must be unique across the figures of a page
        svg = svg.replace(used, f'{used}{name}-')
    return svg, alternative


def _figure(name: str, report: AccessReport, ink: str) -> tuple[Figure, str]:
    with matplotlib.rc_context(
        {
            'text.color': ink,
            'axes.labelcolor': ink,
            'axes.edgecolor': ink,
            'xtick.color': ink,
            'ytick.color': ink,
        }
    ):
        tall = 1 + 0.5 * len(report.classes) if name == 'classes' else 3.6
        figure = Figure(figsize=(7, tall), layout='constrained')
        axes = figure.subplots()
        axes.spines[['top', 'right']].set_visible(False)
        return figure, FIGURES[name][1](axes, report)


def _lines(axes: Axes, report: AccessReport) -> None:
    """Draw the mIoU of the unprotected model and the floor as lines."""
    for row in report.of('baseline'):
        axes.axhline(row.scores.mIoU, color=COLOURS['baseline'], linestyle='--', label=row.who)
    axes.axhline(report.floor_miou, color=COLOURS['baseline'], linestyle=':', label='floor: majority-class baseline')
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
