"""The access report as one HTML page that needs nothing else: no network, no server, no script."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from PIL import Image

from mmseg_keyprotect.evaluation.figures import FIGURES, to_svg
from mmseg_keyprotect.evaluation.pictures import Picture
from mmseg_keyprotect.evaluation.report import MAX_LEAK, AccessReport

MAX_SIDE = 480
"""Pixels; larger pictures are made smaller for the page."""


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template of a package; what is missing is an error, and text is escaped."""
    environment = Environment(
        loader=PackageLoader(package, '.'),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def write_html(report: AccessReport, pictures: list[Picture], path: Path) -> None:
    """Write ``report.html``.

    Args:
        report: What was measured.
        pictures: Of test images, see :func:`mmseg_keyprotect.evaluation.pictures.take_pictures`.
        path: The file to write.
    """
    figures = []
    for name, (title, _) in FIGURES.items() if report.rows else ():
        svg, alternative = to_svg(name, report)
        figures.append((title, Markup(svg), alternative))
    page = render(
        'mmseg_keyprotect.evaluation',
        'report.html.jinja',
        report=report,
        max_leak=MAX_LEAK,
        figures=figures,
        pictures=[
            (picture.name, {who: _embed(who, panel) for who, panel in picture.panels.items()}) for picture in pictures
        ],
    )
    path.write_text(page, encoding='utf-8')


def _embed(who: str, panel: np.ndarray) -> str:
    """Return a picture as a data URL."""
    step = -(-max(panel.shape[:2]) // MAX_SIDE)
    picture = Image.fromarray(panel)
    form = 'JPEG' if who == 'image' else 'PNG'
    if step > 1:
        picture = picture.reduce(step) if form == 'JPEG' else Image.fromarray(panel[::step, ::step])
    file = BytesIO()
    picture.save(file, form, **(dict(quality=85) if form == 'JPEG' else dict(optimize=True)))
    return f'data:image/{form.lower()};base64,{b64encode(file.getvalue()).decode()}'
