"""Write the access report as one self-contained HTML page, which needs no network, server or script."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from pathlib import Path

import numpy as np
from markupsafe import Markup
from PIL import Image

from mmseg_keyprotect.evaluation.figures import class_table, figures_of
from mmseg_keyprotect.evaluation.pictures import ENCRYPTED, ENCRYPTED_NOTE, Picture, legend
from mmseg_keyprotect.evaluation.rendering import render
from mmseg_keyprotect.evaluation.report import COLUMNS, MAX_LEAK, AccessReport
from mmseg_keyprotect.evaluation.svg import to_svg
from mmseg_keyprotect.evaluation.written import METRICS, RANDOM, USERS, chances, facts

MAX_SIDE = 480
"""The largest side of a picture on the page, in pixels; larger pictures are reduced."""


def write_html(report: AccessReport, pictures: list[Picture], path: Path) -> None:
    """Write ``report.html``.

    Args:
        report: The measured accuracies.
        pictures: Test images, see :func:`~mmseg_keyprotect.evaluation.pictures.take_pictures`.
        path: The file to write.
    """
    figures = []
    for name, (title, draw, height) in figures_of(report).items():
        svg, alternative = to_svg(name, draw, height)
        figures.append((title, Markup(svg), alternative))
    page = render(
        'mmseg_keyprotect.evaluation',
        'report.html.jinja',
        title=f'Access report: {report.about.get("model", report.cipher)}',
        report=report,
        facts=facts(report),
        max_leak=MAX_LEAK,
        columns=COLUMNS,
        metrics=METRICS,
        random=RANDOM + chances(report),
        users=USERS,
        figures=figures,
        class_table=class_table(report),
        legend=legend(pictures, report.classes),
        encrypted_note=ENCRYPTED_NOTE if any(ENCRYPTED in picture.panels for picture in pictures) else '',
        pictures=[
            (picture.name, {who: embed(who, panel) for who, panel in picture.panels.items()}) for picture in pictures
        ],
    )
    path.write_text(page, encoding='utf-8')


def embed(who: str, panel: np.ndarray) -> str:
    """Return a picture as a data URL."""
    step = -(-max(panel.shape[:2]) // MAX_SIDE)
    picture = Image.fromarray(panel)
    form = 'JPEG' if who == 'image' else 'PNG'
    if step > 1:
        picture = picture.reduce(step) if form == 'JPEG' else Image.fromarray(panel[::step, ::step])
    file = BytesIO()
    picture.save(file, form, **(dict(quality=85) if form == 'JPEG' else dict(optimize=True)))
    return f'data:image/{form.lower()};base64,{b64encode(file.getvalue()).decode()}'
