"""Keys on PKCS#11 tokens (HSMs, smart cards, YubiKeys): the token opens sealed files, and its key never leaves it.

A token holds a P-256 key. Others seal for its public text; the token alone computes the shared secret (ECDH) that
unwraps the file key (docs/spec.md, section 9).
"""

from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mmseg_keyprotect.errors import KeyFileError, MissingDependencyError, SealedFileError
from mmseg_keyprotect.keys.encoding import SEALED_FILE_P256, decode, encode, hkdf
from mmseg_keyprotect.keys.frames import without_locals
from mmseg_keyprotect.keys.passphrases import prompt_passphrase
from mmseg_keyprotect.sealing.entries import Entry, Opener, Recipient, unbox, wrap
from mmseg_keyprotect.sealing.pkcs11_uris import TokenUri
from mmseg_keyprotect.sealing.public_texts import name_of, public_bytes, public_text

TOKEN_PREFIX = 'MMSEG-KEYPROTECT-RECIPIENT-P256-1.'
_HOW = 'keyprotect keygen --show-recipient pkcs11:...'
_COMPRESSED = 33


class TokenRecipient(Recipient):
    """The holder of a token, by the public text of its key.

    Args:
        text: ``MMSEG-KEYPROTECT-RECIPIENT-P256-1.`` and 50 characters, as ``keyprotect keygen --show-recipient`` prints
            it for the URI of the token.

    Raises:
        KeyFileError: The text has another form, a mistyped character, or is no point of P-256.

    Example:
        >>> private = ec.derive_private_key(7, ec.SECP256R1())
        >>> TokenRecipient(token_text(private.public_key())).wrap(bytes(32))['name']
        '22eea24ece66aafb'
    """

    def __init__(self, text: str) -> None:
        raw = public_bytes(TOKEN_PREFIX, text.strip(), _COMPRESSED, 'the recipient of a token', _HOW)
        try:
            self._public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), raw)
        except ValueError:
            raise KeyFileError(
                f'Expected a point of P-256, but got something else. Ask for what `{_HOW}` prints.'
            ) from None
        self.name = name_of(raw)

    def wrap(self, file_key: bytes) -> Entry:
        """Wrap the file key under a secret shared with the token: P-256 with a fresh key, HKDF, AES-GCM."""
        mine = ec.generate_private_key(ec.SECP256R1())
        shared = mine.exchange(ec.ECDH(), self._public)
        ephemeral = mine.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        box = wrap(_shared_key(shared, ephemeral, _compressed(self._public)), file_key, 'p256')
        return dict(type='p256', name=self.name, ephemeral=encode(ephemeral), **box)


class Token(Opener):
    """A P-256 key on a PKCS#11 token, by its URI (RFC 7512).

    Args:
        uri: ``pkcs11:token=NAME;object=LABEL?module-path=LIBRARY&pin-source=FILE``. ``serial`` can name the token,
            ``id`` the key. ``pin-source`` is a file with the PIN, which only its owner may read; without it the PIN is
            asked for at the terminal.

    Raises:
        ConfigError: The URI has another form, or no ``module-path``.
        LeakedKeyError: It holds the PIN.
        KeyFileError: The module, the token or the key is missing, or the PIN is wrong.
        MissingDependencyError: The package python-pkcs11 is not installed.

    Example:
        >>> token = Token('pkcs11:token=safe;object=seal?module-path=/usr/lib/softhsm/libsofthsm2.so') # doctest: +SKIP
        >>> with open_sealed('model.sealed', token) as reader:                                        # doctest: +SKIP
        ...     content = reader.read()
    """

    @without_locals
    def __init__(self, uri: str) -> None:
        self.uri = TokenUri(uri)
        try:
            import pkcs11
        except ImportError:
            raise MissingDependencyError.of('python-pkcs11', 'pkcs11') from None
        self._pkcs11 = pkcs11
        self._connect()
        self._raw = _compressed(self._public)

    def __str__(self) -> str:
        """Return the name for messages."""
        return f'the token key {self.uri.name}'

    @property
    def recipient(self) -> str:
        """The public text of the key, for which others can seal files."""
        return token_text(self._public)

    @without_locals
    def unwrap(self, entry: Entry) -> bytes | None:
        """Have the token compute the shared secret of an entry, and unwrap its file key.

        Raises:
            SealedFileError: The entry holds no point of P-256.
            KeyFileError: The token is gone, or refuses.
        """
        if entry['type'] != 'p256' or entry['name'] != name_of(self._raw):
            return None
        ephemeral = decode(entry['ephemeral'], 65)
        try:
            ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), ephemeral)
        except ValueError:
            raise SealedFileError('Expected a point of P-256, but got another. Do not use the file.') from None
        try:
            shared = self._exchange(ephemeral)
        except self._pkcs11.PKCS11Error:
            self._connect()  # the token may have been taken out and put in again
            try:
                shared = self._exchange(ephemeral)
            except self._pkcs11.PKCS11Error as error:
                raise KeyFileError(
                    f'Expected {self} to compute a shared secret, but got {type(error).__name__}. Make a key that may '
                    'derive.'
                ) from None
        return unbox(_shared_key(shared, ephemeral, self._raw), entry)

    @without_locals
    def _exchange(self, ephemeral: bytes) -> bytes:
        """Return the shared secret that the token computes."""
        lib = self._pkcs11
        template = {lib.Attribute.SENSITIVE: False, lib.Attribute.EXTRACTABLE: True, lib.Attribute.TOKEN: False}
        secret = self._private.derive_key(
            lib.KeyType.GENERIC_SECRET, 256, mechanism_param=(lib.KDF.NULL, None, ephemeral), template=template
        )
        try:
            return bytes(secret[lib.Attribute.VALUE])
        finally:
            secret.destroy()  # others who are logged in could read it

    def _connect(self) -> None:
        """Log in to the token, and find the key.

        Raises:
            KeyFileError: The module, the token or the key is missing, or the PIN is wrong.
        """
        self._session = self._open()
        public = self._find(self._pkcs11.ObjectClass.PUBLIC_KEY)
        try:
            from pkcs11.util.ec import encode_ec_public_key

            self._public = _of_der(encode_ec_public_key(public))
        except (ValueError, self._pkcs11.PKCS11Error):
            raise KeyFileError(f'Expected a P-256 key, but {self} is another key. Make one on the token.') from None
        self._private = self._find(self._pkcs11.ObjectClass.PRIVATE_KEY)

    @without_locals
    def _open(self) -> Any:
        """Log in to the token."""
        lib, uri = self._pkcs11, self.uri
        try:
            tokens = list(lib.lib(uri.module).get_tokens(token_label=uri.token, token_serial=uri.serial))
            if not tokens:
                raise lib.NoSuchToken
            if len(tokens) > 1:
                raise lib.MultipleTokensReturned('name one by its serial')
            try:
                return tokens[0].open(user_pin=uri.pin() or prompt_passphrase('PIN of the token: '))
            except lib.UserAlreadyLoggedIn:  # a login holds for all sessions of a process
                return tokens[0].open()
        except (lib.PKCS11Error, RuntimeError) as error:
            reason = f'{type(error).__name__} {error}'.strip()
        raise KeyFileError(f'Expected {self}, but got: {reason}. Put the token in, and check the URI and the PIN.')

    def _find(self, kind: Any) -> Any:
        """Return the one key object of a kind."""
        lib = self._pkcs11
        try:
            return self._session.get_key(
                object_class=kind, key_type=lib.KeyType.EC, label=self.uri.object, id=self.uri.id
            )
        except lib.PKCS11Error as error:
            raise KeyFileError(
                f'Expected one EC key, {self}, but got {type(error).__name__}. Name it by `object` or `id`.'
            ) from None


def token_text(public: ec.EllipticCurvePublicKey) -> str:
    """Return the public text of a P-256 key.

    Example:
        >>> token_text(ec.derive_private_key(7, ec.SECP256R1()).public_key())[:40]
        'MMSEG-KEYPROTECT-RECIPIENT-P256-1.Ao5TO2'
    """
    return public_text(TOKEN_PREFIX, _compressed(public))


def _of_der(der: bytes) -> ec.EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    public = load_der_public_key(der)
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise ValueError
    return public


def _compressed(public: ec.EllipticCurvePublicKey) -> bytes:
    return public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def _shared_key(shared: bytes, ephemeral: bytes, public: bytes) -> bytes:
    """Return the wrapping key of a shared secret, bound to both public keys."""
    return hkdf(shared, SEALED_FILE_P256.encode() + ephemeral + public)
