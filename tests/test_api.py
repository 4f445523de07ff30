"""The public names: what is promised is there, and costs nothing until it is used."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import mmseg_keyprotect

ROOMS = [
    'audit',
    'ciphers',
    'config',
    'evaluation',
    'fine_tuning',
    'images',
    'keys',
    'ownership',
    'protection',
    'sealing',
    'split',
]
TREE = ast.parse(Path(mmseg_keyprotect.__file__).read_text())


@pytest.mark.parametrize('name', mmseg_keyprotect.__all__)
def test_every_public_name_resolves(name):
    assert getattr(mmseg_keyprotect, name) is not None
    assert name in dir(mmseg_keyprotect)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'SecretKeys'"):
        _ = mmseg_keyprotect.SecretKeys


@pytest.mark.parametrize('room', ROOMS)
def test_a_room_lists_its_own_names(room):
    module = import_module(f'mmseg_keyprotect.{room}')
    assert module.__all__
    assert all(hasattr(module, name) for name in module.__all__)


def test_type_checkers_see_the_same_names():
    (block,) = [node for node in TREE.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module.removeprefix('mmseg_keyprotect.') for node in block.body for alias in node.names}
    assert seen == mmseg_keyprotect._PUBLIC


def test_importing_the_package_is_light():
    code = (
        'import sys, mmseg_keyprotect\n'
        "heavy = ('torch', 'numpy', 'cryptography', 'PIL', 'mmengine', 'mmseg', 'mmcv', 'packaging')\n"
        'print([name for name in heavy if name in sys.modules])\n'
        'from mmseg_keyprotect import SecretKey\n'
        "print([name for name in ('torch', 'numpy', 'mmengine') if name in sys.modules], SecretKey.__name__)"
    )
    done = subprocess.run([sys.executable, '-c', code], text=True, capture_output=True)
    assert done.stdout.splitlines() == ['[]', '[] SecretKey'], done.stderr


def test_all_error_classes_have_one_root():
    from mmseg_keyprotect import errors

    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert len(classes) > 10
    assert all(issubclass(value, errors.KeyProtectError) for value in classes)


def test_types_are_shipped():
    assert (Path(mmseg_keyprotect.__file__).parent / 'py.typed').is_file()
