"""Every link of a page leads to a file and a heading that exist."""

import re

import pytest

from helpers.markdown import anchors, links, name_of, pages, target_of
from helpers.names import resolve


def problem_with(page, link):
    """Return what is wrong with a link, or None."""
    target, anchor = target_of(page, link)
    if not target.exists():
        return f'no file {target.name}'
    if not anchor or target.suffix != '.md':
        return None
    if anchor.startswith('mmseg_keyprotect') and ':::' in target.read_text(encoding='utf-8'):
        resolve(anchor)  # the API reference has an anchor for every name
        return None
    return None if anchor in anchors(target) else f'no heading #{anchor} in {target.name}'


@pytest.mark.parametrize('page', pages(), ids=name_of)
def test_links_of_a_page(page):
    problems = [(number, link, problem_with(page, link)) for number, link in links(page)]
    assert [f'{name_of(page)}:{number}: {link}: {said}' for number, link, said in problems if said] == []


def test_broken_links_are_found(tmp_path):
    page = tmp_path / 'page.md'
    text = (
        '# A title, with `code`\n\n## Twice\n\n## Twice\n\n'
        '[1](page.md) [2](#a-title-with-code) [3](page.md#twice-1) ![4](no.png) [5](#three) [6](no.md#x "said")\n'
        '[7](https://example.org/no) `[8](no.md)`\n\n```text\n[9](no.md)\n```\n\n[10]: none.md\n'
    )
    page.write_text(text)
    found = [link for _, link in links(page) if problem_with(page, link)]
    assert found == ['no.png', '#three', 'no.md#x', 'none.md']
    assert not re.search(r'example', ' '.join(link for _, link in links(page)))
