"""Reads the project's Markdown pages: code blocks, headings and links."""

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from helpers import ROOT

FENCE = re.compile(r'^(\s*)(`{3,}|~{3,})[ \t]*([\w-]*)')
MARK = re.compile(r'^\s*<!-- (not run|slow|checkout|config):(.*)-->\s*$')
CHINESE = ROOT / 'docs' / 'zh'
FURTHER = ('README.md', 'CONTRIBUTING.md', 'RELEASING.md', 'CHANGELOG.md', 'SECURITY.md')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        language: Word behind the fence, such as ``bash``.
        text: What the block holds, without its indentation.
        line: Number of its first line in the page, from 1.
        mark: Word of the mark in the line before the block; None if it has none. ``not run``: never run. ``slow``: run
            by the slow tests alone. ``checkout``: run by a slow test, in a fresh clone. ``config``: written to a file
            and built as a config.
        note: What stands behind the word: a reason, or the file of a config.
    """

    language: str
    text: str
    line: int
    mark: str | None = None
    note: str = ''


def pages():
    """Return every page: those at the root, and those of docs/ and configs/."""
    found = [*(ROOT / name for name in FURTHER), *(ROOT / 'docs').rglob('*.md'), *(ROOT / 'configs').rglob('*.md')]
    return sorted(page for page in found if page.is_file())


def name_of(page):
    """Return the path of a page from the root, as a name for a test."""
    return page.relative_to(ROOT).as_posix()


def split(text):
    """Return the fenced blocks of a page, and its prose: the lines outside of them, numbered from 1."""
    blocks, prose, opened, inside, lines = [], [], None, [], text.splitlines()
    for number, line in enumerate(lines, 1):
        fence = FENCE.match(line)
        if opened is None and fence:
            mark = MARK.match(lines[number - 2]) if number > 1 else None
            opened, inside = (fence, number + 1, (mark[1], mark[2].strip()) if mark else ()), []
        elif opened is None:
            prose.append((number, line))
        elif fence and fence[2].startswith(opened[0][2]) and not line.strip('`~ \t'):
            indent = len(opened[0][1])
            body = ''.join(f'{one[min(indent, len(one) - len(one.lstrip())) :]}\n' for one in inside)
            blocks.append(Block(opened[0][3], body, opened[1], *opened[2]))
            opened = None
        else:
            inside.append(line)
    if opened:
        raise ValueError(f'Expected a closed block, but the one at line {opened[1] - 1} is open.')
    return blocks, prose


def blocks(page):
    """Return the fenced blocks of a page."""
    return split(page.read_text(encoding='utf-8'))[0]


def links(page):
    """Yield the line number and the target of every link and image of a page, but those to other sites."""
    for number, line in split(page.read_text(encoding='utf-8'))[1]:
        line = re.sub(r'`[^`]*`', '', line)
        targets = re.findall(r'\]\(<?([^()\s>]*)>?(?:\s+"[^"]*")?\)', line) + re.findall(r'^\[[^\]]+\]:\s+(\S+)', line)
        yield from ((number, target) for target in targets if not re.match(r'[a-z]+:', target))


def anchors(page):
    """Return the anchors of a page's headings, as GitHub and as the documentation site name them."""
    text = page.read_text(encoding='utf-8')
    found, seen = set(re.findall(r'(?:id|name)="([^"]+)"', text)), {}
    for _, line in split(text)[1]:
        if heading := re.match(r'#{1,6}\s+(.*?)(?:\s+#+)?(?:\s*\{\s*#([\w-]+)\s*\})?\s*$', line):
            title = re.sub(r'\[([^\]]*)\]\([^)]*\)', r'\1', heading[1]).replace('`', '').replace('*', '')
            found.add(heading[2] or '')
            for slug, joint in ((_github(title), '-'), (_site(title), '_')):
                count = seen[slug, joint] = seen.get((slug, joint), -1) + 1
                found.add(f'{slug}{joint}{count}' if count else slug)
    for included in re.findall(r'include-markdown\s+"([^"]+)"', text):
        found |= anchors(page.parent / included)
    return found


def _github(title):
    return re.sub(r'[^\w\- ]', '', title.lower()).replace(' ', '-')


def _site(title):
    ascii_only = unicodedata.normalize('NFKD', title).encode('ascii', 'ignore').decode()
    return re.sub(r'[-\s]+', '-', re.sub(r'[^\w\s-]', '', ascii_only).strip().lower())


def target_of(page, link):
    """Return the file that a link names, and the anchor behind ``#``."""
    path, _, anchor = link.partition('#')
    return (page.parent / path).resolve() if path else Path(page), anchor
