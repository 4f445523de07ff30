"""Draw figures for reports: PNG files for papers, and SVG in the colours of the page."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDTH = 4.8
"""The width of a figure in inches, so that its text stays readable on a page of 390 pixels."""

HEIGHT = 3.4
"""The usual height of a figure in inches."""

INKED = ('text.color', 'axes.labelcolor', 'axes.edgecolor', 'xtick.color', 'ytick.color')
"""Matplotlib's settings for the colour of text and axes."""

_PAGE_INK = '#010203'  # a placeholder, replaced by currentColor, the text colour of the page

Draw = Callable[[Axes], str]
"""Draws into axes and returns a text alternative."""


def draw_figure(draw: Draw, height: float = HEIGHT, ink: str = '#222222') -> tuple[Figure, str]:
    """Return a figure and its text alternative.

    Args:
        draw: Draws into the axes of the figure.
        height: The height in inches.
        ink: The colour of text and axes.
    """
    colours: dict[Any, str] = dict.fromkeys(INKED, ink)
    with matplotlib.rc_context(colours):
        figure = Figure(figsize=(WIDTH, height), layout='constrained')
        axes = figure.subplots()
        axes.spines[['top', 'right']].set_visible(False)
        return figure, draw(axes)


def to_png(draw: Draw, path: Path, height: float = HEIGHT) -> None:
    """Write a figure as a PNG file, 200 dots per inch, on white."""
    draw_figure(draw, height)[0].savefig(path, dpi=200, facecolor='white')


def to_svg(name: str, draw: Draw, height: float = HEIGHT) -> tuple[str, str]:
    """Return a figure as an SVG element for an HTML page, and its text alternative.

    Args:
        name: The name of the figure, unique in the page.
        draw: Draws into the axes of the figure.
        height: The height in inches.
    """
    figure, alternative = draw_figure(draw, height, _PAGE_INK)
    text = StringIO()
    with matplotlib.rc_context({'svg.fonttype': 'none', 'svg.hashsalt': name, 'font.family': 'sans-serif'}):
        figure.savefig(
            text, format='svg', transparent=True, metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
        )
    svg = text.getvalue()
    svg = svg[svg.index('<svg') :].replace(_PAGE_INK, 'currentColor')
    for used in ('id="', '"#', 'url(#'):  # ids must be unique across the figures of a page
        svg = svg.replace(used, f'{used}{name}-')
    return svg, alternative


def legend_below(axes: Axes) -> None:
    """Put a legend below the axes, where it covers neither lines nor bars."""
    figure = axes.get_figure(root=True)
    assert figure is not None, 'axes to draw in belong to a figure'
    figure.legend(loc='outside lower center', ncols=2, frameon=False)
