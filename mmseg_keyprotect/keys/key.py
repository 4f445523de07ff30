"""The secret key and its handle (docs/spec.md, sections 1 and 2).

The one secret of mmseg-keyprotect is 32 random bytes. :class:`~mmseg_keyprotect.keys.SecretKey` holds them and shows
only the key id. This module needs only the standard library and ``cryptography``.
"""

from __future__ import annotations

import hmac
import os
from typing import Any, NoReturn, final

from mmseg_keyprotect.errors import KeyFileError, LeakedKeyError
from mmseg_keyprotect.keys.encoding import KEY_ID, Passphrase, hkdf
from mmseg_keyprotect.keys.files import AnyPath, read_key_line, write_key_file
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.line import SECRET_BYTES, parse_key_line

_FIXED = 'Expected no change of a SecretKey, since it cannot be changed. Load or generate another one.'


@final
class SecretKey:
    """A handle on one secret key, which never shows the secret (docs/spec.md, sections 1 and 2).

    Make one with :meth:`~mmseg_keyprotect.keys.SecretKey.generate`, :meth:`~mmseg_keyprotect.keys.SecretKey.load`,
    :meth:`~mmseg_keyprotect.keys.SecretKey.from_bytes` or :meth:`~mmseg_keyprotect.keys.SecretKey.from_line`. A handle
    cannot be changed or pickled. A copy of a handle is the handle itself. Two handles are equal if they hold the same
    secret.

    Args:
        secret: Exactly 32 bytes from a cryptographic random source.

    Raises:
        KeyFileError: ``secret`` is not ``bytes`` or not 32 bytes long.

    Example:
        >>> key = SecretKey.generate()
        >>> key.save('my.key')
        >>> SecretKey.load('my.key') == key
        True
        >>> len(key.key_id)
        16
    """

    __slots__ = ('_key_id', '_secret')

    _key_id: str
    _secret: bytes

    def __new__(cls, secret: bytes) -> SecretKey:
        """Check and hold the secret."""
        if not isinstance(secret, bytes) or len(secret) != SECRET_BYTES:
            size = f' of length {len(secret)}' if isinstance(secret, bytes | bytearray | str) else ''
            raise KeyFileError(
                f'Expected a secret of exactly {SECRET_BYTES} bytes, but got {type(secret).__name__}{size}. '
                'Make a new key with SecretKey.generate().'
            )
        self = super().__new__(cls)
        object.__setattr__(self, '_secret', secret)
        object.__setattr__(self, '_key_id', self.derive(KEY_ID, 8).hex())
        return self

    @classmethod
    def generate(cls) -> SecretKey:
        """Make a new key from the random source of the operating system (docs/spec.md, section 1).

        Example:
            >>> SecretKey.generate() == SecretKey.generate()
            False
        """
        return cls(os.urandom(SECRET_BYTES))

    @classmethod
    @without_locals
    def from_bytes(cls, secret: bytes) -> SecretKey:
        """Make a handle from a raw secret.

        Args:
            secret: Exactly 32 bytes, as ``bytes``. They must come from a cryptographic random source.

        Raises:
            KeyFileError: ``secret`` is not ``bytes`` or not 32 bytes long.

        Example:
            >>> SecretKey.from_bytes(bytes(32)).key_id  # never use a secret that is not random
            '70a28782cc93edea'
        """
        return cls(secret)

    @classmethod
    @without_locals
    def from_line(cls, line: str, passphrase: Passphrase = None, *, source: str = 'the key line') -> SecretKey:
        """Read the one key line of a key file (docs/spec.md, section 6).

        Args:
            line: Only the key line, without blanks around it and without a line end.
            passphrase: The passphrase of a sealed key, or a function without arguments that returns it. The function
                is called only if the key is sealed. A plain key needs none and ignores it.
            source: Where the line comes from, for error messages.

        Raises:
            KeyFileError: The line is damaged or of another version, or the passphrase is missing or wrong.

        Example:
            >>> import os
            >>> key = SecretKey.from_line(os.environ['MY_KEY'])  # doctest: +SKIP
        """
        try:
            return cls(parse_key_line(line, passphrase))
        except KeyFileError as error:
            raise KeyFileError(f'{source}: {error}') from None

    @classmethod
    @without_locals
    def load(cls, path: AnyPath, passphrase: Passphrase = None, *, allow_world_readable: bool = False) -> SecretKey:
        """Read a key file (docs/spec.md, section 6).

        Args:
            path: The key file, at most 64 KiB.
            passphrase: As in :meth:`~mmseg_keyprotect.keys.SecretKey.from_line`.
            allow_world_readable: Warn instead of raising if every user of the machine can access the file.

        Raises:
            KeyFileError: The file is missing, unreadable, exposed, damaged or of another version, or the passphrase
                is missing or wrong.
            LeakedKeyError: ``path`` holds a key instead of a path.

        Example:
            >>> key = SecretKey.load('sealed.key', lambda: input('Passphrase: '))  # doctest: +SKIP
        """
        line = read_key_line(path, allow_world_readable=allow_world_readable)
        return cls.from_line(line, passphrase, source=f'key file {os.fsdecode(path)!r}')

    @without_locals
    def save(self, path: AnyPath, passphrase: Passphrase = None) -> None:
        """Write a new key file with mode 0600, and never overwrite one (docs/spec.md, section 6).

        Args:
            path: The file to make. Its folder must exist.
            passphrase: Seals the file with this passphrase, which must not be empty. Default: a plain file.

        Raises:
            KeyFileError: ``path`` exists or cannot be written, or the passphrase is empty.
            LeakedKeyError: ``path`` holds a key instead of a path.

        Example:
            >>> SecretKey.generate().save('sealed.key', 'correct horse')
        """
        write_key_file(path, self._secret, self._key_id, passphrase)

    @property
    def key_id(self) -> str:
        """The public name of the key: 16 lowercase hex characters, which reveal nothing about the secret."""
        return self._key_id

    def derive(self, label: str, length: int) -> bytes:
        """Derive key material: HKDF-SHA256 with salt ``mmseg-keyprotect/1`` (docs/spec.md, section 2).

        Args:
            label: What the bytes are for. Two labels give unrelated bytes.
            length: How many bytes, 1 to 8160.

        Returns:
            ``length`` secret bytes. Each call computes them anew; they are not stored.

        Raises:
            ValueError: ``length`` is out of range.

        Example:
            >>> len(SecretKey.generate().derive('my-purpose', 16))
            16
        """
        if not 1 <= length <= 255 * 32:
            raise ValueError(f'Expected a length of 1 to {255 * 32} bytes, but got {length}.')
        return hkdf(self._secret, label, length)

    def __repr__(self) -> str:
        return f'<SecretKey key_id={self._key_id}>'

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretKey):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __copy__(self) -> SecretKey:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> SecretKey:
        return self

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(
            'Expected no assignment, because a SecretKey cannot be changed. Load or generate another one.'
        )

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            'Expected no assignment, because a SecretKey cannot be changed. Load or generate another one.'
        )

    def __reduce_ex__(self, protocol: object = None) -> NoReturn:
        raise LeakedKeyError(
            'Expected no pickling, because a SecretKey is never pickled: the pickle would contain the key. Pass a key '
            "provider instead, such as dict(type='KeyFile', path='my.key'). The other process then loads the key file."
        )

    __reduce__ = __getstate__ = __reduce_ex__
