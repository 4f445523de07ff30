"""The vectors of sealed files (docs/spec.md, section 9), by the letter of the specification; used by generate.py."""

import base64
import hashlib
import hmac
import json
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SALT = b'mmseg-keyprotect/1'
MAGIC = b'MMSEG-KEYPROTECT-SEALED-FILE-1\n'
SIGNED = b'MMSEG-KEYPROTECT-SEALED-FILE-2\n'
COUNTING, OTHER = bytes(range(32)), hashlib.shake_256(b'sealed other').digest(32)


def noise(label: str, size: int) -> bytes:
    """Return fixed pseudo-random bytes."""
    return hashlib.shake_256(f'sealed {label}'.encode()).digest(size)


def b64(data: bytes) -> str:
    """Encode as base64url without padding."""
    return base64.urlsafe_b64encode(data).decode().rstrip('=')


def hkdf(ikm: bytes, salt: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-SHA256."""
    return HKDF(hashes.SHA256(), length, salt, info).derive(ikm)


def key_id(secret: bytes) -> str:
    """Section 2's key id."""
    return hkdf(secret, SALT, b'key-id', 8).hex()


def by_key(file_key: bytes, secret: bytes) -> dict[str, Any]:
    """A recipient of type key."""
    nonce = noise('nonce key', 12)
    wrapped = AESGCM(hkdf(secret, SALT, b'sealed-file')).encrypt(nonce, file_key, b'key')
    return dict(type='key', key_id=key_id(secret), nonce=b64(nonce), wrapped=b64(wrapped))


def by_x25519(file_key: bytes, secret: bytes) -> dict[str, Any]:
    """A recipient of type x25519."""
    public = (
        X25519PrivateKey.from_private_bytes(hkdf(secret, SALT, b'sealed-file-x25519')).public_key().public_bytes_raw()
    )
    mine = X25519PrivateKey.from_private_bytes(noise('ephemeral', 32))
    ephemeral = mine.public_key().public_bytes_raw()
    shared = mine.exchange(X25519PublicKey.from_public_bytes(public))
    key, nonce = hkdf(shared, SALT, b'sealed-file-x25519' + ephemeral + public), noise('nonce x', 12)
    name = hashlib.sha256(public).hexdigest()[:16]
    wrapped = AESGCM(key).encrypt(nonce, file_key, b'x25519')
    return dict(type='x25519', name=name, ephemeral=b64(ephemeral), nonce=b64(nonce), wrapped=b64(wrapped))


def p256_key(label: str) -> ec.EllipticCurvePrivateKey:
    """A fixed key of P-256."""
    return ec.derive_private_key(int.from_bytes(noise(label, 32), 'big') >> 1, ec.SECP256R1())


def by_p256(file_key: bytes) -> dict[str, Any]:
    """A recipient of type p256."""
    public, mine = p256_key('token').public_key(), p256_key('ephemeral token')
    compressed = public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    ephemeral = mine.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    key = hkdf(mine.exchange(ec.ECDH(), public), SALT, b'sealed-file-p256' + ephemeral + compressed)
    nonce = noise('nonce p256', 12)
    name = hashlib.sha256(compressed).hexdigest()[:16]
    wrapped = AESGCM(key).encrypt(nonce, file_key, b'p256')
    return dict(type='p256', name=name, ephemeral=b64(ephemeral), nonce=b64(nonce), wrapped=b64(wrapped))


def by_passphrase(file_key: bytes, passphrase: str, log2n: int = 10) -> dict[str, Any]:
    """A recipient of type passphrase."""
    salt, nonce = noise('salt', 16), noise('nonce p', 12)
    key = Scrypt(salt=salt, length=32, n=2**log2n, r=8, p=1).derive(passphrase.encode())
    wrapped = AESGCM(key).encrypt(nonce, file_key, b'passphrase')
    return dict(type='passphrase', log2n=log2n, salt=b64(salt), nonce=b64(nonce), wrapped=b64(wrapped))


def canonical(fields: dict[str, Any]) -> bytes:
    """The one form of JSON."""
    return json.dumps(fields, sort_keys=True, separators=(',', ':')).encode()


def signed(
    file_key: bytes, recipients: list[dict], size: int, named: str, body: list[bytes], signing: bytes, **licence: str
) -> bytes:
    """A whole file of version 2."""
    terms = dict(recipient='', not_before='', not_after='', text='', device='') | licence
    private = Ed25519PrivateKey.from_private_bytes(hkdf(signing, SALT, b'sealed-file-ed25519'))
    digests = b''.join(hashlib.sha256(chunk).digest() for chunk in body)
    signature = dict(
        publisher=b64(private.public_key().public_bytes_raw()),
        licence=terms,
        content=b64(hashlib.sha256(digests).digest()),
    )
    fields = dict(chunk_size=size, key_id=named, salt=b64(noise('payload', 16)), recipients=recipients)
    value = private.sign(b'mmseg-keyprotect/1 sealed-file-signature\n' + canonical({**fields, 'signature': signature}))
    start = head(file_key, recipients, size, named, signature={**signature, 'value': b64(value)})
    return start + b''.join(body) + digests


def head(file_key: bytes, recipients: list[dict], size: int, named: str, **more: Any) -> bytes:
    """Magic, length, header and mac."""
    fields = dict(chunk_size=size, key_id=named, salt=b64(noise('payload', 16)), recipients=recipients, **more)
    text = canonical(fields)
    start = (SIGNED if 'signature' in more else MAGIC) + len(text).to_bytes(4, 'little') + text
    return start + hmac.digest(hkdf(file_key, SALT, b'sealed-header'), start, 'sha256')


def chunks(file_key: bytes, plain: bytes, size: int) -> list[bytes]:
    """The sealed chunks."""
    aes = AESGCM(hkdf(file_key, noise('payload', 16), b'sealed-payload'))
    parts = [plain[i : i + size] for i in range(0, len(plain), size)] or [b'']
    return [
        aes.encrypt(i.to_bytes(11, 'little') + bytes([i == len(parts) - 1]), part, None) for i, part in enumerate(parts)
    ]


def flip(data: bytes, at: int) -> bytes:
    """Change one bit."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


def sealed_files() -> dict[str, Any]:
    """Section 9."""
    file_key, plain = noise('file key', 32), noise('plain', 40)
    mine, id_ = by_key(file_key, COUNTING), key_id(COUNTING)
    start, body = head(file_key, [mine], 16, id_), chunks(file_key, plain, 16)
    vectors: list[dict[str, Any]] = []

    def add(
        name: str, comment: str, file: bytes, expect: str = 'ok', secret: bytes | None = COUNTING, **more: Any
    ) -> None:
        vectors.append(
            dict(
                name=name,
                comment=comment,
                expect=expect,
                secret=secret.hex() if secret else None,
                passphrase=more.pop('passphrase', None),
                **({'p256': more.pop('p256')} if 'p256' in more else {}),
                file=base64.b64encode(file).decode(),
                **({'plain': base64.b64encode(more.pop('plain', plain)).decode()} if expect == 'ok' else {}),
            )
        )

    add('key', 'three chunks for a secret key', start + b''.join(body))
    for size, comment in (
        (0, 'an empty file is one empty chunk'),
        (16, 'exactly one chunk'),
        (32, 'exactly two chunks'),
    ):
        add(f'plain-{size}', comment, start + b''.join(chunks(file_key, plain[:size], 16)), plain=plain[:size])
    public = head(file_key, [by_x25519(file_key, OTHER)], 16, id_) + b''.join(body)
    add('x25519', 'for the public side of another key', public, secret=OTHER)
    spoken = head(file_key, [by_passphrase(file_key, 'correct horse')], 16, '') + b''.join(body)
    add('passphrase', 'for a passphrase, no key id', spoken, secret=None, passphrase='correct horse')
    token = p256_key('token').private_numbers().private_value
    for_token = head(file_key, [by_p256(file_key)], 16, '') + b''.join(body)
    add('p256', 'for a token with this private key', for_token, secret=None, p256=f'{token:064x}')
    several = [by_passphrase(file_key, 'correct horse'), by_x25519(file_key, OTHER), mine]
    everybody = head(file_key, several, 16, id_) + b''.join(body)
    for name, secret, passphrase in (('key', COUNTING, None), ('x25519', OTHER, None), ('word', None, 'correct horse')):
        add(f'three-recipients-{name}', 'each opens it', everybody, secret=secret, passphrase=passphrase)

    for index in range(3):
        changed = [flip(part, 0) if i == index else part for i, part in enumerate(body)]
        add(f'flipped-chunk-{index}', 'one bit of a chunk', start + b''.join(changed), 'SealedFileError')
    alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
    mine_x = by_x25519(file_key, COUNTING)
    spare = alphabet[alphabet.index(mine_x['ephemeral'][-1]) + 1]
    damaged = {
        'flipped-tag': ('one bit of the last tag', start + flip(b''.join(body), -1)),
        'cut-chunk': ('the last chunk is missing', start + b''.join(body[:2])),
        'cut-byte': ('the last byte is missing', start + b''.join(body)[:-1]),
        'cut-all': ('no chunk is left', start),
        'cut-tag': ('less than a tag is left', start + b''.join(body)[:10]),
        'swapped': ('two chunks have changed places', start + body[1] + body[0] + body[2]),
        'repeated': ('a chunk stands twice', start + body[0] + body[0] + body[1] + body[2]),
        'tail': ('bytes behind the last chunk', start + b''.join(body) + bytes(5)),
        'tail-chunk': ('a chunk behind the last chunk', start + b''.join(body) + body[0]),
        'flipped-mac': ('one bit of the mac', flip(start, -1) + b''.join(body)),
        'changed-header': (
            'another key id in the header',
            start.replace(b'"key_id":"' + id_.encode(), b'"key_id":"0' + id_[1:].encode(), 1) + b''.join(body),
        ),
        'no-json': ('the header is not JSON', MAGIC + (3).to_bytes(4, 'little') + b'{"a' + bytes(32) + body[0]),
        'long-header': ('a header of more than 2^20 bytes', MAGIC + (2**20 + 1).to_bytes(4, 'little') + bytes(100)),
        'cut-header': ('the file ends in the header', start[:60]),
        'plain-file': ('not sealed at all', b'PK\x03\x04' + plain),
        'empty': ('no byte at all', b''),
        'more-fields': (
            'a field that the version does not know',
            head(file_key, [mine], 16, id_, a=1) + b''.join(body),
        ),
        'no-recipients': ('an empty list', head(file_key, [], 16, id_) + b''.join(body)),
        'chunk-size-0': ('chunks of nothing', head(file_key, [mine], 0, id_) + b''.join(body)),
        'chunk-size-large': ('chunks above 2^24', head(file_key, [mine], 2**24 + 1, id_) + b''.join(body)),
        'unknown-type': (
            'a recipient of another type',
            head(file_key, [mine, dict(mine, type='pgp')], 16, id_) + b''.join(body),
        ),
        'log2n-21': (
            'scrypt that would take gigabytes',
            head(file_key, [dict(by_passphrase(file_key, 'a'), log2n=21)], 16, id_),
        ),
        'log2n-0': ('no scrypt at all', head(file_key, [dict(by_passphrase(file_key, 'a'), log2n=0)], 16, id_)),
        'not-canonical': (
            'base64 with spare bits',
            head(file_key, [dict(mine_x, ephemeral=mine_x['ephemeral'][:-1] + spare)], 16, id_) + b''.join(body),
        ),
    }
    for name, (comment, file) in damaged.items():
        add(name, comment, file, 'SealedFileError')
    add('another-key', 'a key that is no recipient', start + b''.join(body), 'WrongKeyError', OTHER)
    same_name = head(file_key, [dict(mine, key_id=key_id(OTHER))], 16, id_) + b''.join(body)
    add('same-id-other-secret', 'the id of the key, wrapped for another', same_name, 'WrongKeyError', OTHER)
    add('wrong-passphrase', 'it does not open', spoken, 'WrongKeyError', None, passphrase='battery staple')
    newer = start.replace(b'FILE-1\n', b'FILE-3\n', 1) + b''.join(body)
    add('version-3', 'a newer version', newer, 'UnsupportedSpecError')

    by_publisher = signed(file_key, [mine], 16, id_, body, OTHER)
    add('signed', 'signed by the other secret, no terms', by_publisher)
    terms = dict(
        recipient='ACME \u00fc', not_before='2026-01-31T00:00:00Z', not_after='9999-12-31T23:59:59Z', text='a\nb'
    )
    add('licence', 'signed, a licence that holds', signed(file_key, [mine], 16, id_, body, OTHER, **terms))
    empty = chunks(file_key, b'', 16)
    add('signed-empty', 'an empty file', signed(file_key, [mine], 16, id_, empty, OTHER), plain=b'')
    for name, more in (
        ('ended', dict(not_after='2025-12-31T23:59:59Z')),
        ('early', dict(not_before='9999-01-01T00:00:00Z')),
    ):
        add(
            f'licence-{name}',
            'a licence that does not hold',
            signed(file_key, [mine], 16, id_, body, OTHER, **more),
            'LicenceError',
        )
    other_chunks = chunks(file_key, plain[::-1], 16)
    size = sum(map(len, body))
    digests = len(body) * 32
    broken = {
        'signed-changed-header': (by_publisher.replace(id_.encode(), b'0' * 16), 'SignatureError'),
        'signed-other-content': (
            by_publisher[: -size - digests] + b''.join(other_chunks) + by_publisher[-digests:],
            'SealedFileError',
        ),
        'signed-other-digests': (
            by_publisher[: -size - digests]
            + b''.join(other_chunks)
            + b''.join(hashlib.sha256(one).digest() for one in other_chunks),
            'SealedFileError',
        ),
        'signed-cut': (by_publisher[:-1], 'SealedFileError'),
        'signed-no-digests': (by_publisher[:-digests], 'SealedFileError'),
        'signed-tail': (by_publisher + bytes(32), 'SealedFileError'),
        'signature-in-version-1': (by_publisher.replace(SIGNED, MAGIC, 1), 'SealedFileError'),
        'version-2-without-signature': (start.replace(MAGIC, SIGNED, 1) + b''.join(body), 'SealedFileError'),
        'licence-day': (signed(file_key, [mine], 16, id_, body, OTHER, not_after='9999-12-31'), 'SealedFileError'),
        'licence-more-fields': (signed(file_key, [mine], 16, id_, body, OTHER, price='1'), 'SealedFileError'),
    }
    for name, (file, expect) in broken.items():
        add(name, 'a signed file that was changed, or is none', file, expect)
    return {'source': 'docs/spec.md, section 9', 'vectors': vectors}
