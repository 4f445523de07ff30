"""Fill in HTML templates."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template of a package.

    Text is escaped, and a missing value raises an error.

    Args:
        package: The dotted name of the package that holds the template.
        template: The file name of the template.
        **values: The values that the template uses.
    """
    environment = Environment(
        loader=PackageLoader(package, '.'),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
