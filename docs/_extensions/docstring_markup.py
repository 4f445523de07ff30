"""Griffe extension: the markup of our docstrings becomes that of the API reference.

``:class:`~mmseg_keyprotect.keys.SecretKey``` links to that class where an API page shows it, and is plain code
elsewhere. A target in this package that does not exist is a warning, which stops ``mkdocs build --strict``. The section
``Example:`` is shown as code, which Griffe does for ``Examples:`` only.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

import griffe
from mkdocs.plugins import get_plugin_logger

PACKAGE = 'mmseg_keyprotect'

_ROLE = re.compile(r':(?:class|func|meth|data|mod|attr|exc|obj):`(?:(?P<text>[^`<]+?)\s*<)?(?P<target>[~.\w]+)>?`')
_EXAMPLE = re.compile(r'^Example:$', re.MULTILINE)
_LOG = get_plugin_logger('docstring_markup')


class DocstringMarkup(griffe.Extension):
    """Rewrites every docstring of the package after it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Rewrite the docstrings of a package.

        Args:
            pkg: The package, with all its modules.
            **kwargs: What else Griffe passes.
        """
        if pkg.path != PACKAGE:
            return
        for thing in _objects(pkg):
            if thing.docstring is not None:
                place = f'{thing.path} (line {thing.lineno})'
                linked = _ROLE.sub(lambda role, at=place: _link(pkg, role, at), thing.docstring.value)
                thing.docstring.value = _EXAMPLE.sub('Examples:', linked)


def _objects(thing: griffe.Object) -> Iterator[griffe.Object]:
    """Yield an object and everything that is defined in it; what is only imported there is left out."""
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from _objects(member)


def _link(pkg: griffe.Module, role: re.Match[str], place: str) -> str:
    """Return the HTML of a role: a link that is dropped where no page shows its target."""
    target = role['target'].lstrip('~')
    text = role['text'] or (target.rpartition('.')[2] if role['target'].startswith('~') else target)
    code = f'<code>{html.escape(text)}</code>'
    if target != PACKAGE and not target.startswith(f'{PACKAGE}.'):
        return code
    path = _resolve(pkg, target)
    if path is None:
        _LOG.warning(f'{place}: {target} does not exist')
        return code
    return f'<autoref identifier="{path}" optional>{code}</autoref>'


def _resolve(pkg: griffe.Module, target: str) -> str | None:
    """Return the path of what a dotted name means; None where it means nothing."""
    found: Any = pkg
    for name in target.split('.')[1:]:
        if found.is_alias:
            try:
                found = found.final_target
            except (griffe.AliasResolutionError, griffe.CyclicAliasError):
                return target  # defined in another package, which is not read
        if name in found.all_members:
            found = found.all_members[name]
        elif found.is_class and len(found.bases) > len(found.resolved_bases):
            return target  # inherited from a class of another package
        else:
            return None
    return str(found.canonical_path)
