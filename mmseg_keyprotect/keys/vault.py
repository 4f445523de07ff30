"""Keys that HashiCorp Vault or OpenBao keeps, read by the library hvac.

The library takes the address and the token from the environment, as the programs ``vault`` and ``bao`` do. Its
exceptions hold the request with the token, or the reply with the key. None of them leaves this module, not even as the
context of another one.
"""

from __future__ import annotations

import json
import os
import shlex
from threading import TIMEOUT_MAX, Thread
from typing import Any

from mmseg_keyprotect.errors import ConfigError, KeyFileError, MissingDependencyError
from mmseg_keyprotect.keys.files import MAX_FILE_BYTES, only_key_line
from mmseg_keyprotect.keys.frames import without_locals

VAULT_TIMEOUT = 10.0
"""Seconds that the server may take."""

ADDRESS = 'VAULT_ADDR'

_LOG_IN = 'Log in with `vault login`, or set VAULT_TOKEN.'


@without_locals
def line_of_vault(
    path: str | os.PathLike[str],
    field: str,
    mount: str = 'secret',
    kv_version: float = 2,
    timeout: float = VAULT_TIMEOUT,
) -> str:
    """Read one field of a secret of the key-value engine, and return its one key line, which is not checked yet.

    The server is that of ``VAULT_ADDR``, the token that of ``VAULT_TOKEN`` or of the file ``~/.vault-token``. Also
    ``VAULT_NAMESPACE``, ``VAULT_CACERT``, ``VAULT_CAPATH``, ``VAULT_CLIENT_CERT`` and ``VAULT_CLIENT_KEY`` work.
    Redirects are not followed, since the token would go with them.

    Args:
        path: The path of the secret, without the mount.
        field: The field that holds the key line.
        mount: The path where the engine is mounted.
        kv_version: The version of the engine, 1 or 2.
        timeout: Seconds that the server may take.

    Raises:
        MissingDependencyError: The package hvac is not installed.
        ConfigError: ``kv_version`` is neither 1 nor 2.
        KeyFileError: There is no address, no token, no answer in time or no such field, the server refuses the token,
            or the field holds anything but one key line.
    """
    try:
        import hvac  # noqa: F401  before the thread, where nobody would see the error
    except ImportError:
        raise MissingDependencyError.of('hvac', 'vault') from None
    if kv_version not in (1, 2):
        raise ConfigError(f'Expected `kv_version` to be 1 or 2, but got {kv_version!r}. Give that of the engine.')
    path = os.fspath(path)
    what = f'field {field!r} of {path!r} in {mount!r} of the vault'
    if not os.environ.get(ADDRESS):
        raise KeyFileError(
            f'{what}: Expected the environment variable {ADDRESS} to hold the address of the server, but it is not '
            f'set. Run `export {ADDRESS}=https://HOST:8200`.'
        )
    token = _token()
    if not token or not (token.isascii() and token.isprintable()):
        got = 'other text' if token else 'none that can be read'
        raise KeyFileError(f'{what}: Expected a token in VAULT_TOKEN or ~/.vault-token, but got {got}. {_LOG_IN}')
    place = f'{mount}/data/{path}' if kv_version == 2 else f'{mount}/{path}'
    answers: list[tuple[int, bytes] | str] = []
    timeout = min(timeout, TIMEOUT_MAX)
    # in a thread, because a time limit of the library is one for each packet
    reader = Thread(target=lambda: answers.append(_ask(place, token, timeout)), daemon=True)
    reader.start()
    reader.join(timeout)
    answer = answers[0] if answers else 'Timeout'
    if isinstance(answer, str):
        raise KeyFileError(
            f'{what}: Expected an answer within {timeout:g} seconds, but got none. Check {ADDRESS}, or set a longer '
            '`timeout`.'
            if 'Timeout' in answer
            else f'{what}: Expected an answer of the server of {ADDRESS}, but got {answer}. Check the address, the '
            'network, and VAULT_CACERT if its certificate is your own.'
        )
    status, content = answer
    if status != 200:
        raise KeyFileError(f'{what}: {_refusal(status, path, field, mount)}')
    if len(content) > MAX_FILE_BYTES:
        raise KeyFileError(f'{what}: Expected a key, but got more than 64 KiB. Give the key a secret of its own.')
    return only_key_line(_text(content, field, kv_version, what), what)


def _token() -> str | None:
    import hvac.utils

    try:
        token: str | None = hvac.utils.get_token_from_env()
    except (OSError, ValueError):  # a file that cannot be read, or is not UTF-8
        return None
    return token


def _ask(place: str, token: str, timeout: float) -> tuple[int, bytes] | str:
    """Return the status and the content of the reply, as much as is needed; or the name of an error."""
    import hvac
    import hvac.utils

    try:
        client = hvac.Client(
            token=token,
            timeout=timeout,
            allow_redirects=False,
            adapter=hvac.adapters.RawAdapter,
            namespace=os.environ.get('VAULT_NAMESPACE'),
        )
        try:
            url = hvac.utils.format_url('/v1/{place}', place=place)
            with client.adapter.get(url, raise_exception=False, stream=True) as response:
                content = response.raw.read(MAX_FILE_BYTES + 1, decode_content=True) if response.ok else b''
                return response.status_code, content
        finally:
            client.adapter.close()
    except Exception as error:  # classes of three libraries
        return type(error).__name__


def _refusal(status: int, path: str, field: str, mount: str) -> str:
    if status == 403:
        return (
            'Expected a token that can read it, but got permission denied (403): the token is wrong or expired, or '
            f'its policies do not allow it. {_LOG_IN}'
        )
    if status == 404:
        return (
            'Expected a secret, but there is none at this path (404). Check `mount`, `path` and `kv_version`, or store '
            f'it: grep ^MMSEG my.key | vault kv put {shlex.join([f"-mount={mount}", path, f"{field}=-"])}'
        )
    if status in range(300, 400):
        return f'Expected a secret, but got a redirect ({status}). Set {ADDRESS} to the address that it leads to.'
    return f'Expected a secret, but got the status {status}. Look at `vault status`.'


def _text(content: bytes, field: str, kv_version: float, what: str) -> str:
    fields = _fields(content, kv_version)
    if fields is None:
        raise KeyFileError(
            f'{what}: Expected a secret of the key-value engine, version {kv_version}, but got another reply. Check '
            f'{ADDRESS} and `kv_version`.'
        )
    if not isinstance(fields.get(field), str):
        got = 'no text in it' if field in fields else 'no such field'
        raise KeyFileError(f'{what}: Expected a key line, but there is {got}. Check `field`.')
    text: str = fields[field]
    return text


def _fields(content: bytes, kv_version: float) -> dict[str, Any] | None:
    try:
        found = json.loads(content)['data']
        fields = found['data'] if kv_version == 2 else found
    except Exception:  # carries the reply, so that it must not become the context of another one
        return None
    return fields if isinstance(fields, dict) else None
