"""Every test that the compatibility page names exists."""

import ast
import re

import pytest

from helpers import ROOT

PAGE = (ROOT / 'docs' / 'compatibility.md').read_text()
NAMED = sorted(set(re.findall(r'`([^`]+)` \|$', PAGE, re.MULTILINE)))


def test_the_page_names_tests():
    assert len(NAMED) > 20


@pytest.mark.parametrize('name', NAMED)
def test_it_exists(name):
    file, *parts = name.split('::')
    body = ast.parse((ROOT / 'tests' / file).read_text()).body
    for part in parts:
        (found,) = [node for node in body if getattr(node, 'name', None) == part]
        body = found.body
