"""The fields of a key provider's configuration, and their check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.keys.key import SecretKey


class Provider(NamedTuple):
    """How a configuration of one ``type`` gives a key.

    Args:
        function: Takes the fields of the configuration, and returns the key.
        required: The fields that it must have.
        optional: The fields that it can have besides ``passphrase_file``.
    """

    function: Callable[..., SecretKey]
    required: tuple[str, ...]
    optional: tuple[str, ...] = ()


_PATHS: tuple[Any, ...] = (str, os.PathLike)
_NUMBERS: tuple[Any, ...] = (int, float)
_FIELD_TYPES: dict[str, tuple[Any, ...]] = {
    'path': _PATHS,
    'passphrase_file': _PATHS,
    'name': (str,),
    'service': (str,),
    'command': (str, list, tuple),
    'field': (str,),
    'mount': (str,),
    'kv_version': _NUMBERS,
    'timeout': _NUMBERS,
}


def check_fields(kind: str, provider: Provider, fields: Mapping[str, Any]) -> None:
    """Check the fields of a provider's configuration; values are never shown.

    Args:
        kind: The type of the provider.
        provider: What it takes.
        fields: The configuration without its type.

    Raises:
        ConfigError: A field is missing, unknown, empty or of another type.
    """
    optional = (*provider.optional, 'passphrase_file')
    known = (*provider.required, *optional)
    problems = [f'unknown field {field!r}' for field in fields if field not in known]
    problems += [f'no field {field!r}' for field in provider.required if field not in fields]
    for field in known:
        value: Any = fields.get(field)
        if field not in fields or (field == 'passphrase_file' and value is None):
            continue
        if not isinstance(value, _FIELD_TYPES[field]) or isinstance(value, bool):
            what = 'a number' if _FIELD_TYPES[field] == _NUMBERS else 'text'
            problems.append(f'field {field!r} of type {type(value).__name__} where {what} belongs')
        elif _FIELD_TYPES[field] == _NUMBERS and not value > 0:
            problems.append(f'field {field!r} that is not above 0')
        elif not value or (isinstance(value, os.PathLike) and not os.fspath(value)):
            problems.append(f'an empty field {field!r}')
    if problems:
        plural = 's' * (len(provider.required) > 1)
        raise ConfigError(
            f'Expected the key provider {kind} to have the field{plural} {_listed(provider.required)}, optionally '
            f'{_listed(optional)}, and no others, but got: {"; ".join(problems)}. Correct the provider.',
            tuple(ConfigError(problem) for problem in problems),
        )


def _listed(names: Sequence[str]) -> str:
    return ', '.join(map(repr, names))
