"""PKCS#11 URIs (RFC 7512): which library, token and key."""

from __future__ import annotations

import os
from urllib.parse import unquote, unquote_to_bytes, urlsplit
from urllib.request import url2pathname

from mmseg_keyprotect.errors import ConfigError, LeakedKeyError
from mmseg_keyprotect.keys.files import read_secret_text
from mmseg_keyprotect.keys.frames import without_locals

SCHEME = 'pkcs11:'
_ATTRIBUTES = {'token', 'serial', 'object', 'id', 'module-path', 'pin-source'}
_IGNORED = {
    'manufacturer',
    'model',
    'type',
    'slot-id',
    'slot-description',
    'slot-manufacturer',
    'library-description',
    'library-manufacturer',
    'library-version',
    'module-name',
}
"""Other attributes of RFC 7512, which programs print: the token and the key are found without them."""


class TokenUri:
    """A PKCS#11 URI, taken apart.

    Args:
        uri: The URI.

    Attributes:
        token (str | None): The label of the token.
        serial (str | None): Its serial number.
        object (str | None): The label of the key.
        id (bytes | None): The id of the key.
        module (str): The path of the PKCS#11 library.
        name (str): A short name for messages.

    Raises:
        ConfigError: The URI has another form.
        LeakedKeyError: It holds the PIN.

    Example:
        >>> TokenUri('pkcs11:token=my%20safe;object=seal?module-path=/usr/lib/softhsm/libsofthsm2.so').token
        'my safe'
    """

    def __init__(self, uri: str) -> None:
        if 'pin-value' in uri:
            raise LeakedKeyError(
                'Expected a PKCS#11 URI without a PIN, but got one with pin-value: what names a key is logged. Put the '
                'PIN into a file, and name it by pin-source.'
            )
        path, _, query = uri.removeprefix(SCHEME).partition('?')
        parts = [part.partition('=') for part in [*path.split(';'), *query.split('&')] if part]
        found = {name: value for name, equals, value in parts if equals}
        unknown = sorted({name for name, _, _ in parts} - _ATTRIBUTES - _IGNORED)
        if not uri.startswith(SCHEME) or not {'token', 'serial'} & found.keys() or 'module-path' not in found:
            unknown.append('no token or no module-path')
        if unknown:  # the URI is not shown: it may hold a PIN under a mistyped name
            raise ConfigError(
                'Expected a URI such as pkcs11:token=NAME;object=LABEL?module-path=LIBRARY, with '
                f'{", ".join(sorted(_ATTRIBUTES))}, but got: {", ".join(name[:20] for name in unknown)}. Correct it.'
            )
        self.token, self.serial, self.object = (
            unquote(found[name]) if name in found else None for name in ('token', 'serial', 'object')
        )
        self.id = unquote_to_bytes(found['id']) if 'id' in found else None
        self.module = unquote(found['module-path'])
        self._pin_source = _path(found.get('pin-source', ''))
        self.name = f'{self.object or found.get("id", "")!r} of {self.token or self.serial!r}'

    @without_locals
    def pin(self) -> str:
        """Return the PIN in the file, or empty text."""
        if not self._pin_source:
            return ''
        return read_secret_text(os.path.expanduser(self._pin_source), 'PIN file').strip()


def _path(source: str) -> str:
    """Return the path of a ``pin-source``, which may be a file URI."""
    if not source.startswith('file:'):
        return unquote(source)
    return url2pathname(urlsplit(source).path)
