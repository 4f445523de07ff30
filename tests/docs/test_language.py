"""Pages, docstrings and messages use the words of the field, and name commands that every user has."""

import ast
import json
import re

import pytest

from helpers import ROOT
from helpers.markdown import CHINESE, name_of, pages

BANNED = {
    'thief': r'\bthie(f|ves)\b|\btheft\b',
    'loot': r'\bloot\b',
    'rubbish': r'\brubbish\b',
    'door': r'\bdoors?\b',
    'house': r'\bhouses?\b',
    'mend': r'\bmend(s|ed|ing)?\b',
    'strange': r'\bstrange(rs?)?\b',
    'lessons': r'\blessons?\b',
    'they/them for people': r'\b(he|him|his|himself|she|her|hers)\b',
    'telegram style': r"(^|[\"'.]\s*)(Do as\b|Of \w+'s\b)",
}
"""Words that the style guide bans, as regular expressions; case is ignored."""

LITERAL = {
    ('benchmarks/paper/feature_cells.py', 'thief'): 'names of committed result files begin with it',
    ('docs/stability.md', 'lessons'): 'the page lists the former names of modules',
}
"""Files in which a banned word means what it says, with the reason."""

SOURCES = sorted(
    file
    for folder in ('mmseg_keyprotect', 'benchmarks', 'examples', 'tools')
    for kind in ('*.py', '*.jinja', '*.ipynb')
    for file in (ROOT / folder).rglob(kind)
    if '.mim' not in file.parts
)
PAGES = [page for page in pages() if not page.is_relative_to(CHINESE)]


def text_of(file):
    """Return the text of a file; of a notebook the sources of its cells, one below the other."""
    text = file.read_text(encoding='utf-8')
    return '\n'.join(''.join(cell['source']) for cell in json.loads(text)['cells']) if file.suffix == '.ipynb' else text


def banned_words(name, text):
    """Yield the line number, the rule and the line for every banned word."""
    for number, line in enumerate(text.splitlines(), 1):
        for rule, pattern in BANNED.items():
            if (name, rule) not in LITERAL and re.search(pattern, line, re.IGNORECASE):
                yield f'{name}:{number}: {rule}: {line.strip()[:100]}'


@pytest.mark.parametrize('file', [*SOURCES, *PAGES], ids=name_of)
def test_no_banned_words(file):
    assert list(banned_words(name_of(file), text_of(file))) == []


@pytest.mark.parametrize(
    'line',
    [
        'A thief gets it.', 'The loot.', 'silent rubbish', 'guards the door', 'Mend it.', 'strangers', 'He has it.',
        '"""Do as the plain segmentor."""', "Of mmseg's own.",
    ],
)  # fmt: skip
def test_banned_words_are_found(line):
    assert list(banned_words('page.md', line))


@pytest.mark.parametrize('line', ['The method recommends it.', 'This is the theme.', 'The history of others.'])
def test_other_words_are_allowed(line):
    assert not list(banned_words('page.md', line))


def test_literal_words_are_still_there():
    """No exception outlives its reason."""
    for name, rule in LITERAL:
        assert re.search(BANNED[rule], (ROOT / name).read_text(encoding='utf-8'), re.IGNORECASE), (name, rule)


def messages(text):
    """Yield the line number and the text of every string of a module that is no docstring."""
    tree = ast.parse(text)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.lineno, node.value


ABSENT = re.compile(r'tools/\w+\.py|python tools/|\bdocs/[\w/]+\.md|\bconfigs/README|python -m mmseg_keyprotect\.\w')


PACKAGE = [file for file in SOURCES if file.is_relative_to(ROOT / 'mmseg_keyprotect') and file.suffix == '.py']


@pytest.mark.parametrize('file', PACKAGE, ids=name_of)
def test_messages_name_what_a_user_has(file):
    """A wheel has neither tools/ nor docs/."""
    found = messages(file.read_text(encoding='utf-8'))
    assert [f'{name_of(file)}:{number}: {text}' for number, text in found if ABSENT.search(text)] == []


def test_a_message_that_names_a_script_is_found():
    text = '"""Docstring: python tools/x.py."""\nraise ValueError("Run python tools/audit.py, see docs/audit.md.")\n'
    assert [number for number, said in messages(text) if ABSENT.search(said)] == [2]
