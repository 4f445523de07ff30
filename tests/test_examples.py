"""The examples in the docstrings of the packages for keys, ciphers, sealing and images run as they stand."""

import doctest
import importlib
import pkgutil
import sys
import tarfile
import types

import numpy as np
import pytest
from PIL import Image

from mmseg_keyprotect import ciphers, images, keys, sealing, shards

PACKAGES = (keys, ciphers, sealing, images, shards)
MODULES = ['mmseg_keyprotect.errors', 'mmseg_keyprotect.files']
for package in PACKAGES:
    MODULES.append(package.__name__)
    MODULES += [module.name for module in pkgutil.iter_modules(package.__path__, f'{package.__name__}.')]
MODULES = [name for name in MODULES if not name.endswith('._compiled')]  # a library, and no module


OPTIONAL = {'mmseg_keyprotect.sealing.age': 'pyrage', 'mmseg_keyprotect.sealing.licences': 'machineid'}
"""The packages that the examples of a module need, which are no requirement."""


def public_names():
    """The names that an example may use without importing them."""
    names = {name: getattr(package, name) for package in PACKAGES for name in package.__all__}
    return dict(names, np=np, Image=Image)


@pytest.mark.parametrize('name', MODULES)
@pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if name in OPTIONAL:
        pytest.importorskip(OPTIONAL[name])
    if name.endswith('.folders') and not hasattr(tarfile, 'data_filter'):
        pytest.skip('Python before 3.10.12 or 3.11.4 unseals no folder')
    module = importlib.import_module(name)
    result = doctest.testmod(module, globs={**public_names(), **vars(module)})
    assert result.failed == 0


@pytest.mark.parametrize('package', PACKAGES, ids=lambda package: package.__name__)
def test_every_public_class_and_function_has_an_example(package):
    for name in package.__all__:
        thing = getattr(package, name)
        if isinstance(thing, type | types.FunctionType) and not getattr(thing, '__abstractmethods__', None):
            fields = issubclass(thing, tuple) if isinstance(thing, type) else False
            assert fields or '>>>' in (thing.__doc__ or ''), f'{package.__name__}.{name}'
            assert thing.__module__ in sys.modules
