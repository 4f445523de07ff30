"""Fill in HTML templates, which share ``page.html.jinja``: the style of all reports."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup, escape

SHARED = 'mmseg_keyprotect.evaluation'
"""The package that holds the shared template."""


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template of a package.

    Text is escaped, and a missing value raises an error. The filter ``breakable`` lets long names break.

    Args:
        package: The dotted name of the package that holds the template.
        template: The file name of the template.
        **values: The values that the template uses.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, '.'), PackageLoader(SHARED, '.')]),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['breakable'] = breakable
    return environment.get_template(template).render(**values)


def breakable(text: str) -> Markup:
    """Return text as HTML in which file names and names of ciphers may break after their separators.

    A number stays beside its sign.

    Example:
        >>> str(breakable('a_b-0.4k.py'))
        'a_<wbr>b-<wbr>0.4k.py'
        >>> str(breakable('by -1.5'))
        'by <span class="number">-1.5</span>'
    """
    html = re.sub(r'(?<=\w)([_/+=,-])(?=\w)', r'\1<wbr>', str(escape(text)))
    return Markup(re.sub(r'(?<!\S)[+-]\d[\d.]*', r'<span class="number">\g<0></span>', html))
