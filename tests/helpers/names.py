"""Finds the dotted names and Sphinx roles of the package's sources and pages, and resolves them."""

import dataclasses
import inspect
import re
from importlib import import_module

ROLE = re.compile(r':(?:py:)?(class|func|meth|data|mod|attr|exc|obj):`~?([^`]+)`')
DOTTED = re.compile(r'(?<![\w./-])mmseg_keyprotect(?:\.[A-Za-z_]\w*)+(?![\w/])')


class NameNotFoundError(Exception):
    """A name does not name anything."""


def resolve(name):
    """Return the object of a full dotted name: a module, what it holds, or an attribute of a class in it.

    Raises:
        NameNotFoundError: There is no such object.
    """
    first, *rest = name.split('.')
    try:
        found, path = import_module(first), first
        for part in rest:
            path = f'{path}.{part}'
            found = _member(found, part, path)
    except (ImportError, AttributeError) as error:
        raise NameNotFoundError(f'{name}: {error}') from None
    return found


def _member(owner, part, path):
    if hasattr(owner, part):
        return getattr(owner, part)
    if inspect.ismodule(owner):
        return import_module(path)
    if inspect.isclass(owner):  # an attribute of its instances alone
        declared = {field.name for field in dataclasses.fields(owner)} if dataclasses.is_dataclass(owner) else set()
        declared |= {name for base in owner.__mro__ for name in getattr(base, '__annotations__', {})}
        if part in declared or re.search(rf'\bself\.{part}\b(?:,[^=\n]*)?\s*(?::[^=\n]+)?=', inspect.getsource(owner)):
            return None
    raise AttributeError(f'{owner!r} has no {part!r}')


def problem_with(role, name):
    """Return what is wrong with a Sphinx role, or None."""
    if '.' not in name and role != 'mod':
        return f'Expected a full dotted name, but got :{role}:`{name}`; write mmseg_keyprotect.….{name}.'
    try:
        found = resolve(name.removesuffix('()'))
    except NameNotFoundError as error:
        return f'Expected :{role}:`{name}` to name an object, but got nothing ({error}).'
    kinds = {
        'class': inspect.isclass(found),
        'exc': inspect.isclass(found) and issubclass(found, BaseException),
        'func': callable(found) and not inspect.isclass(found),
        'meth': callable(found) and not inspect.isclass(found),
        'mod': inspect.ismodule(found),
    }
    if not kinds.get(role, True):
        return f'Expected :{role}:`{name}` to name a {role}, but got {type(found).__name__}.'
    return None
