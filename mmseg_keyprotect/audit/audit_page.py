"""The audit as one HTML page that needs nothing else: no network, no server, no script."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

if TYPE_CHECKING:
    from mmseg_keyprotect.audit.audit_report import AuditReport


def page(report: AuditReport) -> str:
    """Return the page of a report."""
    environment = Environment(
        loader=PackageLoader('mmseg_keyprotect.audit', '.'),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template('audit.html.jinja').render(report=report)
