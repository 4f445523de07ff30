"""Key providers: how a configuration names the place of the key without holding the key.

A configuration, its dump and its log hold a path or the NAME of an environment variable, never the key. A new provider
is one function and one line in :data:`~mmseg_keyprotect.keys.PROVIDERS`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mmseg_keyprotect.errors import ConfigError, KeyFileError, LeakedKeyError
from mmseg_keyprotect.keys.files import AnyPath, read_key_line
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.key import SecretKey
from mmseg_keyprotect.keys.key_stores import TIMEOUT, line_of_command, line_of_keyring
from mmseg_keyprotect.keys.line import KEY_MARK
from mmseg_keyprotect.keys.passphrases import find_passphrase

KEY_FILE_VARIABLE, KEY_COMMAND_VARIABLE = 'KEYPROTECT_KEY_FILE', 'KEYPROTECT_KEY_COMMAND'
SEAL_KEY_FILE_VARIABLE, SEAL_KEY_COMMAND_VARIABLE = 'KEYPROTECT_SEAL_KEY_FILE', 'KEYPROTECT_SEAL_KEY_COMMAND'
HOW_TO_MAKE = 'Make a key with `keyprotect keygen my.key`, then name it with `export {}=my.key`.'

_loaded: dict[bytes, SecretKey] = {}
"""The keys that this process has loaded, by the SHA-256 of their key lines."""

_from_stores: dict[tuple[Any, ...], SecretKey] = {}
"""The keys that this process has got from programs and keyrings, by what it asked: asking may need a PIN or a touch."""


@without_locals
def build_key(cfg: SecretKey | Callable[[], SecretKey] | Mapping[str, Any] | None = None) -> SecretKey:
    """Load the key that a configuration asks for.

    One run asks for the same key many times (training, validation, test, preprocessor, hook). The process therefore
    keeps a loaded key: a passphrase is asked for once, and scrypt runs once. The file is read each time, so that a
    changed file is always noticed; a program or a keyring is asked once.

    Args:
        cfg: One of

            * a :class:`~mmseg_keyprotect.keys.SecretKey`, returned as it is;
            * a function without arguments that returns a :class:`~mmseg_keyprotect.keys.SecretKey`;
            * ``None``: the environment variable ``KEYPROTECT_KEY_FILE`` names the key file, or
              ``KEYPROTECT_KEY_COMMAND`` the program that prints the key line;
            * ``dict(type='KeyFile', path=...)``: the key file;
            * ``dict(type='EnvKeyFile', name=...)``: the name of an environment variable that names the key file;
            * ``dict(type='EnvKey', name=...)``: the name of an environment variable that holds the key line;
            * ``dict(type='KeyCommand', command=...)``: a program that prints the key line, a list of words or text, run
              without a shell; ``timeout`` in seconds;
            * ``dict(type='Keyring', service=..., name=...)``: an entry of the keyring of the operating system.

            Each dict may have ``passphrase_file``, the path of a text file that holds the passphrase of a sealed key.

    Returns:
        The key.

    Raises:
        ConfigError: ``cfg`` is of another type, or has an unknown type, or a missing, unknown or wrong field.
        KeyFileError: The key cannot be loaded.
        LeakedKeyError: ``cfg`` holds the key itself.

    Example:
        >>> SecretKey.from_bytes(bytes(32)).save('zero.key')
        >>> build_key(dict(type='KeyFile', path='zero.key'))
        <SecretKey key_id=70a28782cc93edea>
    """
    if isinstance(cfg, SecretKey):
        return cfg
    if cfg is None:
        return _default_key(KEY_FILE_VARIABLE, KEY_COMMAND_VARIABLE)
    if isinstance(cfg, Mapping):
        return _from_mapping(cfg)
    if callable(cfg) and not isinstance(cfg, type):
        key = cfg()
        if not isinstance(key, SecretKey):
            raise ConfigError(
                f'Expected the key function to return a SecretKey, but got {type(key).__name__}. Return '
                'SecretKey.load(...), for example.'
            )
        return key
    raise ConfigError(
        'Expected `key` to be a SecretKey, a function that returns one, None, or a dict such as '
        f"dict(type='KeyFile', path='my.key'), but got {type(cfg).__name__}. Give one of them."
    )


@without_locals
def seal_key(key: Any = None) -> SecretKey:
    """Return the key that seals and opens checkpoints.

    Args:
        key: The configuration of the key, used where neither of the environment variables
            ``KEYPROTECT_SEAL_KEY_FILE`` and ``KEYPROTECT_SEAL_KEY_COMMAND`` is set. Default: that of ``build_key``.

    Returns:
        The key that one of these variables names, otherwise the key of ``key``.

    Raises:
        KeyFileError: No variable names a key file, or the key cannot be loaded.

    Example:
        >>> seal_key(SecretKey.from_bytes(bytes(32)))
        <SecretKey key_id=70a28782cc93edea>
    """
    if os.environ.get(SEAL_KEY_FILE_VARIABLE) or os.environ.get(SEAL_KEY_COMMAND_VARIABLE):
        return _default_key(SEAL_KEY_FILE_VARIABLE, SEAL_KEY_COMMAND_VARIABLE)
    return build_key(key)


def names_a_key() -> bool:
    """Tell whether an environment variable names a key for sealed files."""
    names = (KEY_FILE_VARIABLE, KEY_COMMAND_VARIABLE, SEAL_KEY_FILE_VARIABLE, SEAL_KEY_COMMAND_VARIABLE)
    return any(os.environ.get(name) for name in names)


def _key_file(path: AnyPath, passphrase_file: AnyPath | None = None) -> SecretKey:
    """Load the key file ``path``."""
    path = os.path.expanduser(path)
    return _load(read_key_line(path), passphrase_file, f'key file {os.fsdecode(path)!r}')


def _env_key_file(name: str, passphrase_file: AnyPath | None = None) -> SecretKey:
    """Load the key file that the environment variable ``name`` names."""
    path = os.environ.get(name)
    if not path:
        raise KeyFileError(
            f'Expected the environment variable {name} to name a key file, but it is not set. '
            + HOW_TO_MAKE.format(name)
        )
    return _key_file(path, passphrase_file)


def _env_key(name: str, passphrase_file: AnyPath | None = None) -> SecretKey:
    """Load the key that the environment variable ``name`` holds."""
    line = os.environ.get(name)
    if not line:
        raise KeyFileError(
            f'Expected the environment variable {name} to hold a key line, but it is not set. '
            f'Run `export {name}="$(grep ^{KEY_MARK} my.key)"`, or better use a key file.'
        )
    return _load(line, passphrase_file, f'environment variable {name}')


def _key_command(
    command: str | Sequence[str], timeout: float = TIMEOUT, passphrase_file: AnyPath | None = None
) -> SecretKey:
    """Load the key that a program prints."""
    asked = ('command', command if isinstance(command, str) else tuple(command), passphrase_file)
    if asked not in _from_stores:
        _from_stores[asked] = _load(line_of_command(command, timeout), passphrase_file, 'key of a command')
    return _from_stores[asked]


def _keyring(service: str, name: str, passphrase_file: AnyPath | None = None) -> SecretKey:
    """Load the key that the keyring of the operating system keeps."""
    asked = ('keyring', service, name, passphrase_file)
    if asked not in _from_stores:
        _from_stores[asked] = _load(line_of_keyring(service, name), passphrase_file, f'keyring entry {name!r}')
    return _from_stores[asked]


def _default_key(file_variable: str, command_variable: str) -> SecretKey:
    """Load the key that one of two environment variables names."""
    file, command = os.environ.get(file_variable), os.environ.get(command_variable)
    if file and command:
        raise ConfigError(
            f'Expected one place of the key, but {file_variable} and {command_variable} are both set. Unset one.'
        )
    return _key_command(command) if command else _env_key_file(file_variable)


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


PROVIDERS: dict[str, Provider] = {
    'KeyFile': Provider(_key_file, ('path',)),
    'EnvKeyFile': Provider(_env_key_file, ('name',)),
    'EnvKey': Provider(_env_key, ('name',)),
    'KeyCommand': Provider(_key_command, ('command',), ('timeout',)),
    'Keyring': Provider(_keyring, ('service', 'name')),
}
"""The provider of every ``type`` of a key's configuration."""

_PATHS: tuple[Any, ...] = (str, os.PathLike)
_NUMBERS: tuple[Any, ...] = (int, float)
_FIELD_TYPES: dict[str, tuple[Any, ...]] = {
    'path': _PATHS,
    'passphrase_file': _PATHS,
    'name': (str,),
    'service': (str,),
    'command': (str, list, tuple),
    'timeout': _NUMBERS,
}


def _load(line: str, passphrase_file: AnyPath | None, source: str) -> SecretKey:
    """Return the key of a key line, from memory if this process has loaded it before."""
    digest = hashlib.sha256(line.encode('utf-8', 'surrogatepass')).digest()
    if digest not in _loaded:
        _loaded[digest] = SecretKey.from_line(line, lambda: find_passphrase(passphrase_file), source=source)
    return _loaded[digest]


def _from_mapping(cfg: Mapping[str, Any]) -> SecretKey:
    """Check a key provider, and call its function."""
    fields = dict(cfg.items())
    if KEY_MARK in repr(fields):
        raise LeakedKeyError(
            f'Expected a key provider, but got one that holds {KEY_MARK!r}, as a key line does. A configuration is '
            'dumped and logged, so it must never hold the key. Give the path of a key file, or the plain name of an '
            "environment variable as in dict(type='EnvKey', name='MY_KEY'). Do not write {{$MY_KEY:}}: that puts the "
            'value into the configuration. If it was dumped, logged or shared, the key is leaked: make a new one.'
        )
    kind = fields.pop('type', None)
    if not isinstance(kind, str) or kind not in PROVIDERS:
        raise ConfigError(
            f'Expected the `type` of a key provider to be one of {", ".join(PROVIDERS)}, but got {kind!r}. Use one of '
            'them.'
        )
    provider = PROVIDERS[kind]
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
    return provider.function(**fields)


def _listed(names: Sequence[str]) -> str:
    return ', '.join(map(repr, names))
