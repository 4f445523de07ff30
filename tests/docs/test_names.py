"""Every name of the package in docstrings and pages names a real object."""

import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import mmseg_keyprotect
from helpers import ROOT
from helpers.markdown import name_of, pages
from helpers.names import DOTTED, ROLE, NameNotFoundError, problem_with, resolve

MODULES = sorted(
    one.name
    for one in pkgutil.walk_packages(mmseg_keyprotect.__path__, 'mmseg_keyprotect.')
    if not one.name.endswith(('__main__', '._compiled'))  # the latter is a library, and no module
)


def source_of(module):
    return Path(import_module(module).__file__)


def lines_of(file):
    return enumerate(file.read_text(encoding='utf-8').splitlines(), 1)


def broken_names(file):
    """Yield the place and the problem of every name in a file that does not resolve."""
    for number, line in lines_of(file):
        for name in DOTTED.findall(line):
            try:
                resolve(name)
            except NameNotFoundError as error:
                yield f'{name_of(file)}:{number}: {error}'


@pytest.mark.parametrize('module', ['mmseg_keyprotect', *MODULES])
def test_names_and_roles_of_a_module_resolve(module):
    file = source_of(module)
    found = [(number, *role) for number, line in lines_of(file) for role in ROLE.findall(line)]
    problems = [f'{name_of(file)}:{number}: {said}' for number, *role in found if (said := problem_with(*role))]
    assert problems + list(broken_names(file)) == []


@pytest.mark.parametrize('page', pages(), ids=name_of)
def test_names_in_a_page_resolve(page):
    assert list(broken_names(page)) == []


def test_every_module_is_walked():
    files = {file for file in (ROOT / 'mmseg_keyprotect').rglob('*.py') if '.mim' not in file.parts}
    walked = {source_of(module) for module in ['mmseg_keyprotect', *MODULES]}
    assert {file.relative_to(ROOT).as_posix() for file in files - walked} == {'mmseg_keyprotect/__main__.py'}


@pytest.mark.parametrize(
    ('role', 'name'),
    [
        ('class', 'mmseg_keyprotect.keys.SecretKeys'),
        ('class', 'SecretKey'),
        ('class', 'mmseg_keyprotect.keys.build_key'),
        ('func', 'mmseg_keyprotect.keys.SecretKey'),
        ('func', 'mmseg_keyprotect.protection.bind'),
        ('meth', 'mmseg_keyprotect.keys.SecretKey.forget'),
        ('mod', 'mmseg_keyprotect.key'),
        ('exc', 'mmseg_keyprotect.keys.SecretKey'),
        ('attr', 'mmseg_keyprotect.evaluation.report.AccessReport.row'),
        ('attr', 'mmseg_keyprotect.images.Encryptor.ciphers'),
    ],
)
def test_a_broken_role_is_found(role, name):
    assert problem_with(role, name)


@pytest.mark.parametrize(
    ('role', 'name'),
    [
        ('class', 'mmseg_keyprotect.keys.SecretKey'),
        ('func', 'mmseg_keyprotect.protection.bind.protect_checkpoint'),
        ('meth', 'mmseg_keyprotect.keys.SecretKey.generate'),
        ('mod', 'mmseg_keyprotect.keys'),
        ('exc', 'mmseg_keyprotect.errors.ConfigError'),
        ('data', 'mmseg_keyprotect.ciphers.DEFAULT_CIPHER'),
        ('attr', 'mmseg_keyprotect.evaluation.report.AccessReport.rows'),  # a field without a default
        ('attr', 'mmseg_keyprotect.images.Encryptor.resize'),  # set in __init__
        ('class', 'torch.Tensor'),
    ],
)
def test_a_sound_role_is_accepted(role, name):
    assert problem_with(role, name) is None
