"""Key providers: how a configuration names the place of the key without holding the key.

A configuration, its dump and its log hold a path or the NAME of an environment variable, never the key. A new provider
is one function and one line in :data:`~mmseg_keyprotect.keys.PROVIDERS`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmseg_keyprotect.errors import ConfigError, KeyFileError, LeakedKeyError
from mmseg_keyprotect.keys.files import AnyPath, read_key_line
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.key import SecretKey
from mmseg_keyprotect.keys.key_stores import TIMEOUT, line_of_command, line_of_keyring
from mmseg_keyprotect.keys.line import KEY_MARK
from mmseg_keyprotect.keys.passphrases import find_passphrase
from mmseg_keyprotect.keys.provider_fields import Provider, check_fields
from mmseg_keyprotect.keys.vault import ADDRESS, VAULT_TIMEOUT, line_of_vault

KEY_FILE_VARIABLE, KEY_COMMAND_VARIABLE = 'KEYPROTECT_KEY_FILE', 'KEYPROTECT_KEY_COMMAND'
SEAL_KEY_FILE_VARIABLE, SEAL_KEY_COMMAND_VARIABLE = 'KEYPROTECT_SEAL_KEY_FILE', 'KEYPROTECT_SEAL_KEY_COMMAND'
HOW_TO_MAKE = 'Make a key with `keyprotect keygen my.key`, then name it with `export {}=my.key`.'

_loaded: dict[bytes, SecretKey] = {}
"""The keys that this process has loaded, by the SHA-256 of their key lines."""

_from_stores: dict[tuple[Any, ...], SecretKey] = {}
"""The keys that this process has got from programs, keyrings and vaults, by what it asked: it may need a PIN."""


@without_locals
def build_key(cfg: SecretKey | Callable[[], SecretKey] | Mapping[str, Any] | None = None) -> SecretKey:
    """Load the key that a configuration asks for.

    One run asks for the same key many times (training, validation, test, preprocessor, hook). The process therefore
    keeps a loaded key: a passphrase is asked for once, and scrypt runs once. The file is read each time, so that a
    changed file is always noticed; a program, a keyring or a vault is asked once.

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
            * ``dict(type='Keyring', service=..., name=...)``: an entry of the keyring of the operating system;
            * ``dict(type='Vault', path=..., field=...)``: a field of a secret in HashiCorp Vault or OpenBao, whose
              address and token are in the environment; ``mount``, ``kv_version``, ``timeout``.

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
    asked = ('command', command if isinstance(command, str) else tuple(command))
    return _asked_once(asked, lambda: line_of_command(command, timeout), passphrase_file, 'key of a command')


def _keyring(service: str, name: str, passphrase_file: AnyPath | None = None) -> SecretKey:
    """Load the key that the keyring of the operating system keeps."""
    asked = ('keyring', service, name)
    return _asked_once(asked, lambda: line_of_keyring(service, name), passphrase_file, f'keyring entry {name!r}')


def _vault(
    path: str,
    field: str,
    mount: str = 'secret',
    kv_version: float = 2,
    timeout: float = VAULT_TIMEOUT,
    passphrase_file: AnyPath | None = None,
) -> SecretKey:
    """Load the key that a vault keeps."""
    asked = ('vault', os.environ.get(ADDRESS), os.environ.get('VAULT_NAMESPACE'), path, field, mount, kv_version)
    source = f'field {field!r} of {path!r} in the vault'
    return _asked_once(asked, lambda: line_of_vault(path, field, mount, kv_version, timeout), passphrase_file, source)


def _asked_once(
    asked: tuple[Any, ...], line: Callable[[], str], passphrase_file: AnyPath | None, source: str
) -> SecretKey:
    """Load the key of a store that this process asks once."""
    asked = (*asked, passphrase_file)
    if asked not in _from_stores:
        _from_stores[asked] = _load(line(), passphrase_file, source)
    return _from_stores[asked]


def _default_key(file_variable: str, command_variable: str) -> SecretKey:
    """Load the key that one of two environment variables names."""
    file, command = os.environ.get(file_variable), os.environ.get(command_variable)
    if file and command:
        raise ConfigError(
            f'Expected one place of the key, but {file_variable} and {command_variable} are both set. Unset one.'
        )
    return _key_command(command) if command else _env_key_file(file_variable)


PROVIDERS: dict[str, Provider] = {
    'KeyFile': Provider(_key_file, ('path',)),
    'EnvKeyFile': Provider(_env_key_file, ('name',)),
    'EnvKey': Provider(_env_key, ('name',)),
    'KeyCommand': Provider(_key_command, ('command',), ('timeout',)),
    'Keyring': Provider(_keyring, ('service', 'name')),
    'Vault': Provider(_vault, ('path', 'field'), ('mount', 'kv_version', 'timeout')),
}
"""The provider of every ``type`` of a key's configuration."""


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
    check_fields(kind, provider, fields)
    return provider.function(**fields)
