"""Key providers: how a configuration names the place of the key without holding the key.

A configuration, its dump and its log hold a path or the NAME of an environment variable, never the key. A new provider
is one function and one line in :data:`~mmseg_keyprotect.keys.PROVIDERS`.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from mmseg_keyprotect.errors import ConfigError, KeyFileError, LeakedKeyError
from mmseg_keyprotect.keys.files import AnyPath, read_key_line, read_secret_text
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.key import SecretKey
from mmseg_keyprotect.keys.line import KEY_MARK

KEY_FILE_VARIABLE = 'KEYPROTECT_KEY_FILE'
SEAL_KEY_FILE_VARIABLE = 'KEYPROTECT_SEAL_KEY_FILE'
PASSPHRASE_FILE_VARIABLE = 'KEYPROTECT_PASSPHRASE_FILE'
HOW_TO_MAKE = 'Make a key with `keyprotect keygen my.key`, then name it with `export {}=my.key`.'

_loaded: dict[bytes, SecretKey] = {}
"""The keys that this process has loaded, by the SHA-256 of their key lines."""


@without_locals
def build_key(cfg: SecretKey | Callable[[], SecretKey] | Mapping[str, Any] | None = None) -> SecretKey:
    """Load the key that a configuration asks for.

    One run asks for the same key many times (training, validation, test, preprocessor, hook). The process therefore
    keeps a loaded key: a passphrase is asked for once, and scrypt runs once. The file is read each time, so that a
    changed file is always noticed.

    Args:
        cfg: One of

            * a :class:`~mmseg_keyprotect.keys.SecretKey`, returned as it is;
            * a function without arguments that returns a :class:`~mmseg_keyprotect.keys.SecretKey`;
            * ``None``: the environment variable ``KEYPROTECT_KEY_FILE`` names the key file;
            * ``dict(type='KeyFile', path=...)``: the key file;
            * ``dict(type='EnvKeyFile', name=...)``: the name of an environment variable that names the key file;
            * ``dict(type='EnvKey', name=...)``: the name of an environment variable that holds the key line.

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
        return _env_key_file(KEY_FILE_VARIABLE)
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


def seal_key(key: Any = None) -> SecretKey:
    """Return the key that seals and opens checkpoints.

    Args:
        key: The configuration of the key, used where the environment variable ``KEYPROTECT_SEAL_KEY_FILE`` is not set.
            Default: the key file that ``KEYPROTECT_KEY_FILE`` names.

    Returns:
        The key of ``KEYPROTECT_SEAL_KEY_FILE`` where that variable is set, otherwise the key of ``key``.

    Raises:
        KeyFileError: No variable names a key file, or the key cannot be loaded.

    Example:
        >>> seal_key(SecretKey.from_bytes(bytes(32)))
        <SecretKey key_id=70a28782cc93edea>
    """
    if os.environ.get(SEAL_KEY_FILE_VARIABLE):
        return build_key(dict(type='EnvKeyFile', name=SEAL_KEY_FILE_VARIABLE))
    return build_key(key)


@without_locals
def find_passphrase(passphrase_file: AnyPath | None = None) -> str:
    """Find the passphrase of a sealed key or a sealed file.

    The sources in order are: ``passphrase_file``, the file that ``KEYPROTECT_PASSPHRASE_FILE`` names, and a prompt if
    stdin is a terminal. One line end at the end of the file is not part of the passphrase.

    Raises:
        KeyFileError: There is no passphrase, or its file is missing, unreadable, exposed, empty or not UTF-8.

    Example:
        >>> import os
        >>> from pathlib import Path
        >>> _ = Path('passphrase').write_text('correct horse')
        >>> os.chmod('passphrase', 0o600)
        >>> find_passphrase('passphrase')
        'correct horse'
    """
    path = passphrase_file or os.environ.get(PASSPHRASE_FILE_VARIABLE)
    if path:
        text = read_secret_text(os.path.expanduser(path), 'passphrase file')
        text = text.removesuffix('\n').removesuffix('\r') if text.endswith('\n') else text
        if not text:
            raise KeyFileError(
                f'passphrase file {os.fsdecode(path)!r}: Expected a passphrase, but the passphrase is empty. Write one '
                'into the file.'
            )
        return text
    if sys.stdin and not sys.stdin.closed and sys.stdin.isatty():
        return prompt_passphrase('Passphrase of the key: ')
    raise KeyFileError(
        'Expected a passphrase, but none is given and there is no terminal to ask for it. Give `passphrase_file` in '
        f'the key provider, or run `export {PASSPHRASE_FILE_VARIABLE}=FILE`.'
    )


@without_locals
def prompt_passphrase(text: str) -> str:
    """Ask for a passphrase on the terminal, without echo.

    Raises:
        KeyFileError: The input ended, or there is no terminal that can hide the passphrase.

    Example:
        >>> passphrase = prompt_passphrase('Passphrase: ')  # doctest: +SKIP
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('error', getpass.GetPassWarning)
            return getpass.getpass(text)
    except (EOFError, getpass.GetPassWarning):
        raise KeyFileError(
            'Expected a passphrase, but no passphrase was given, or there is no terminal that can hide it. Use a '
            'passphrase file instead.'
        ) from None


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


PROVIDERS: dict[str, tuple[Callable[..., SecretKey], str]] = {
    'KeyFile': (_key_file, 'path'),
    'EnvKeyFile': (_env_key_file, 'name'),
    'EnvKey': (_env_key, 'name'),
}
"""The function and the required field of every ``type`` of a key provider."""


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
    function, required = PROVIDERS[kind]
    problems = [f'unknown field {field!r}' for field in fields if field not in (required, 'passphrase_file')]
    if required not in fields:
        problems.append(f'no field {required!r}')
    for field in (required, 'passphrase_file'):
        value: Any = fields.get(field)
        if field not in fields or (field == 'passphrase_file' and value is None):
            continue
        if not isinstance(value, str if field == 'name' else str | os.PathLike):
            problems.append(f'field {field!r} of type {type(value).__name__} where text belongs')
        elif not os.fspath(value):
            problems.append(f'an empty field {field!r}')
    if problems:
        raise ConfigError(
            f'Expected the key provider {kind} to have the field {required!r}, optionally the field '
            f"'passphrase_file', and no others, but got: {'; '.join(problems)}. Correct the provider.",
            tuple(ConfigError(problem) for problem in problems),
        )
    return function(**fields)
