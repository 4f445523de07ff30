"""MkDocs hook: links from a page to files of the repository that are not pages.

README.md and other files outside docs/ are included in pages, and link to configs, tests or the license. A reader of
the site has a page for some of these, and for the rest none: there the text stays and the link goes. A target that
does not exist is left as it is, so that ``mkdocs build --strict`` reports it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PAGES = {
    'README.md': 'index.md',
    'CHANGELOG.md': 'changelog.md',
    'CONTRIBUTING.md': 'contributing.md',
    'SECURITY.md': 'security_policy.md',
    'configs/README.md': 'configs.md',
}
"""The pages that include a file of the repository, relative to docs/."""

_LINK = re.compile(r'(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>[^()\s#:]+)(?P<anchor>#[^()\s]*)?\)')
_CODE = re.compile(r'^(```+|~~~+).*?^\1', re.M | re.S)


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Rewrite the links of a page, except in code blocks.

    Args:
        markdown: The text of the page, after includes.
        page: The page of MkDocs.
        **kwargs: What else MkDocs passes.

    Returns:
        The text with links that the site can follow.
    """
    folder = posixpath.dirname(page.file.src_uri)
    blocks = [match.span() for match in _CODE.finditer(markdown)]

    def rewrite(match: re.Match[str]) -> str:
        if any(start <= match.start() < end for start, end in blocks):
            return match[0]
        path = posixpath.normpath(posixpath.join('docs', folder, match['target']))
        if path in PAGES:
            return f'[{match["text"]}]({posixpath.relpath(PAGES[path], folder or ".")}{match["anchor"] or ""})'
        is_page = path.startswith('docs/') and (ROOT / path).is_file()
        return match['text'] if not is_page and (ROOT / path).exists() else match[0]

    return _LINK.sub(rewrite, markdown)
