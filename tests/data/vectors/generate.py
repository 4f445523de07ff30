"""Write the test vectors beside this file, or compare them with what is there (``--check``).

It follows docs/spec.md alone and imports nothing of the package, so that package and vectors check each other.
The files and their fields are described in docs/test_vectors.md.
"""

import argparse
import base64
import hashlib
import json
import math
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from feature_vectors import features as feature_vectors
from ownership_vectors import ownership as ownership_vectors
from sealed_vectors import sealed_files

Vector = dict[str, Any]
Document = dict[str, Any]
PLAIN, SEALED = 'MMSEG-KEYPROTECT-KEY-1.', 'MMSEG-KEYPROTECT-SEALED-KEY-1.'
SHUFFLE, NEGATIVE, FFX = 'shuffle', 'negative-positive', 'ffx'


def noise(label: str, size: int) -> bytes:
    """Return `size` fixed pseudo-random bytes that belong to `label`."""
    return hashlib.shake_256(label.encode()).digest(size)


ZEROS, COUNTING, ONES, OTHER = bytes(32), bytes(range(32)), b'\xff' * 32, noise('secret 1', 32)
REJECTING = hashlib.sha256(b'rejection/16948').digest()  # found by a search: its `ffx` table rejects a word
SECRETS = {'zeros': ZEROS, 'counting': COUNTING, 'ones': ONES, 'other': OTHER, 'rejecting': REJECTING}
EVERY_VALUE = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


def derive(secret: bytes, label: str, length: int) -> bytes:
    """Return section 2's `derive(label, length)`."""
    return HKDF(hashes.SHA256(), length, b'mmseg-keyprotect/1', label.encode()).derive(secret)


class Words:
    """Section 2's `words(label)`, with a count of the words taken and a list of those rejected."""

    def __init__(self, secret: bytes, label: str) -> None:
        self.used = 0
        self.rejected: list[dict[str, int]] = []
        self._stream = self._words(derive(secret, label, 32))

    @staticmethod
    def _words(key: bytes) -> Iterator[int]:
        keystream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
        while True:
            yield from struct.unpack('<16I', keystream.update(bytes(64)))

    def take(self) -> int:
        """Return the next word."""
        self.used += 1
        return next(self._stream)

    def uniform(self, n: int) -> int:
        """Return an unbiased integer in [0, n)."""
        while (word := self.take()) >= 2**32 - 2**32 % n:
            self.rejected.append({'word': word, 'index': self.used - 1, 'n': n})
        return word % n


def permutation(secret: bytes, label: str, n: int) -> tuple[np.ndarray, list[dict[str, int]]]:
    """Return section 2's `permutation(n, label)` and the words rejected on the way."""
    p, words = list(range(n)), Words(secret, label)
    for i in range(n - 1, 0, -1):
        j = words.uniform(i + 1)
        p[i], p[j] = p[j], p[i]
    return np.array(p), words.rejected


def digest(values: np.ndarray) -> str:
    """Return the SHA-256 of the values in decimal, joined by commas."""
    return hashlib.sha256(','.join(map(str, values.tolist())).encode()).hexdigest()


def listing(p: np.ndarray) -> Vector:
    """Return the fields that pin a permutation: all of it while it is short."""
    whole = {'permutation': p.tolist()} if len(p) <= 48 else {}
    return {'first': p[:12].tolist(), 'sha256': digest(p)} | whole


def image(label: str, *shape: int, dtype: str = 'uint8') -> np.ndarray:
    """Return a fixed pseudo-random image."""
    data = noise(f'image {label}', math.prod(shape) * np.dtype(dtype).itemsize)
    return np.frombuffer(data, np.dtype(dtype).newbyteorder('<')).reshape(shape)


def packed(array: np.ndarray) -> Vector:
    """Return the JSON form of an array of samples."""
    data = array.astype(array.dtype.newbyteorder('<')).tobytes()
    return {'shape': list(array.shape), 'dtype': array.dtype.name, 'data': base64.b64encode(data).decode()}


def by_block(x: np.ndarray, m: int, transform: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Apply `transform` to the (blocks, n) matrix of the flattened blocks of an H x W x C image."""
    h, w, c = x.shape
    blocks = x.reshape(h // m, m, w // m, m, c).transpose(0, 2, 1, 3, 4).reshape(-1, m * m * c)
    return transform(blocks).reshape(h // m, w // m, m, m, c).transpose(0, 2, 1, 3, 4).reshape(h, w, c)


def encrypt(x: np.ndarray, cipher: str, m: int, secret: bytes) -> np.ndarray:
    """Return section 3's `cipher` of an image with blocks of m x m pixels."""
    n = m * m * x.shape[2]
    p, _ = permutation(secret, f'{cipher}/M={m}/C={x.shape[2]}', n)
    if cipher == SHUFFLE:
        return by_block(x, m, lambda blocks: blocks[:, p])
    keyed = np.isin(np.arange(n), p[: n // 2])
    if cipher == NEGATIVE:
        return by_block(x, m, lambda blocks: np.where(keyed, np.iinfo(x.dtype).max - blocks, blocks))
    table = permutation(secret, 'ffx-table', 1000)[0].astype(np.uint16)
    return by_block(x.astype(np.uint16), m, lambda blocks: np.where(keyed, table[blocks], blocks))


def key_space_bits(ciphers: list[str], n: int) -> float:
    """Return section 4's size of the key space in bits."""
    half = math.comb(n, n // 2)
    keys = {SHUFFLE: math.factorial(n), NEGATIVE: half, FFX: half * math.perm(1000, 256) if n > 1 else 1}
    return round(min(256.0, sum(math.log2(keys[cipher]) for cipher in ciphers)), 6)


def derivation() -> Document:
    """Return the vectors of section 2."""
    vectors: list[Vector] = []

    def add(kind: str, who: str, label: str, comment: str, **fields: Any) -> None:
        size = fields.get('length', fields.get('n'))
        name = f'{kind}-{who}-{label}' + (f'-{size}' if size else '')
        head = {'name': name, 'comment': comment, 'expect': 'ok', 'kind': kind}
        vectors.append(head | {'secret': SECRETS[who].hex(), 'label': label} | fields)

    for who, secret in SECRETS.items():
        add('key_id', who, 'key-id', 'The public name of the key.', key_id=derive(secret, 'key-id', 8).hex())
        words = Words(secret, 'ffx-table')
        add('words', who, 'ffx-table', 'The first 16 words.', words=[words.take() for _ in range(16)])
    cases = [(who, 'shuffle/M=4/C=3', 32) for who in SECRETS] + [('other', 'Schlüssel', 32)]
    for who, label, length in cases + [('counting', 'key-id', length) for length in (1, 8, 31, 33, 64, 65, 300)]:
        output = derive(SECRETS[who], label, length).hex()
        add('derive', who, label, f'{length} bytes; the label is UTF-8.', length=length, output=output)
    sizes = {1: 'shuffle/M=1/C=1', 2: 'two', 3: 'shuffle/M=1/C=3', 12: 'shuffle/M=2/C=3', 48: 'shuffle/M=4/C=3'}
    sizes |= {192: 'shuffle/M=8/C=3', 768: 'negative-positive/M=16/C=3', 1000: 'ffx-table'}
    cases = [('counting', label, n) for n, label in sizes.items()]
    cases += [(who, sizes[n], n) for who in ('zeros', 'ones', 'other') for n in (12, 48, 1000)]
    cases += [('counting', 'negative-positive/M=2/C=3', 12)]
    cases += [('rejecting', 'ffx-table', 1000), ('counting', 'rejection/22484', 1000)]  # found by a search
    for who, label, n in cases:
        p, rejected = permutation(SECRETS[who], label, n)
        notes = [f'Word {w["index"]} of the stream ({w["word"]}) is rejected by uniform({w["n"]}).' for w in rejected]
        add('permutation', who, label, ' '.join(notes) or 'No word is rejected.', n=n, **listing(p))
    for label, n in [(f'uniform/{i}', n) for n in (2**31 + 1, 3 * 2**30 + 1, 2**31) for i in (1, 2)]:
        words = Words(COUNTING, label)
        fields = {'draws': [words.uniform(n) for _ in range(4)], 'words_used': words.used}
        comment = f'Rejected words of the stream, counted from 0: {[w["index"] for w in words.rejected]}.'
        add('uniform', 'counting', label, comment, n=n, **fields)
    return {'source': 'Section 2 of docs/spec.md, as generate.py implements it.', 'vectors': vectors}


def ciphers() -> Document:
    """Return the vectors of sections 3 and 4."""
    vectors: list[Vector] = []

    def add(names: list[str], m: int, x: np.ndarray, secret: bytes, suffix: str = '', comment: str = '') -> None:
        encrypted, (h, w, c) = x, x.shape
        for cipher in names:
            encrypted = encrypt(encrypted, cipher, m, secret)
        size = f'{h // m}x{w // m} blocks of {m}x{m} pixels, {m * m * c} samples a block.'
        name = f'{"+".join(names)}-M{m}-C{c}-{h // m}x{w // m}{suffix}'
        head = {'name': name, 'comment': f'{size} {comment}'.strip(), 'expect': 'ok', 'ciphers': names}
        head |= {'block_size': m, 'channels': c, 'secret': secret.hex()}
        bits = {'key_space_bits': key_space_bits(names, m * m * c)}
        vectors.append(head | bits | {'plain': packed(x), 'encrypted': packed(encrypted)})

    pair = [SHUFFLE, NEGATIVE]
    sequences = [[SHUFFLE], [NEGATIVE], [FFX], pair, [*pair, FFX], [SHUFFLE, FFX], [NEGATIVE, FFX]]
    sizes, secrets = [(1, 1), (1, 2), (2, 1), (2, 2), (3, 2), (2, 3)], list(SECRETS.values())[:4]
    for i, (names, m) in enumerate((names, m) for names in sequences for m in (1, 2, 3, 4, 8)):
        (rows, columns), c = sizes[i % 6], (3, 1, 4)[i % 3]
        if m == 8 and rows * columns > 2:
            rows, columns = 1, 2
        add(names, m, image(f'cipher {i}', rows * m, columns * m, c), secrets[i % 4])
    for names in ([SHUFFLE], [NEGATIVE], [FFX]):
        note = 'With one sample a block no position is moved or keyed: the values stay.'
        add(names, 1, image('one sample', 2, 3, 1), OTHER, '-one-sample', note)
    for names, secret in [([FFX], OTHER), ([FFX], REJECTING), ([NEGATIVE], OTHER)]:
        suffix = '-all-values-rejecting' if secret == REJECTING else '-all-values'
        add(names, 4, EVERY_VALUE, secret, suffix, 'Every 8-bit value.')
    add([NEGATIVE], 2, np.zeros((2, 4, 3), np.uint8), OTHER, '-black', 'Keyed positions show as 255.')
    return {'source': 'Sections 3 and 4 of docs/spec.md, as generate.py implements it.', 'vectors': vectors}


def padding() -> Document:
    """Return the vectors of section 5."""
    vectors: list[Vector] = []
    sizes = [(2, 1, 1, 1), (2, 3, 4, 3), (2, 4, 3, 3), (2, 5, 7, 4), (2, 4, 6, 3), (4, 1, 1, 3), (4, 5, 4, 1)]
    sizes += [(4, 4, 7, 3), (4, 6, 9, 3), (4, 3, 2, 4), (4, 8, 4, 3), (8, 1, 9, 3), (8, 7, 8, 1), (8, 9, 10, 3)]
    for i, (m, h, w, c) in enumerate(sizes):
        x, right, bottom = image(f'padding {i}', h, w, c), -w % m, -h % m
        padded = np.pad(x, ((0, bottom), (0, right), (0, 0)), 'edge')
        head = {'name': f'M{m}-{h}x{w}x{c}', 'comment': f'To {h + bottom}x{w + right}.', 'expect': 'ok'}
        fields = {'block_size': m, 'padding_size': [0, right, 0, bottom], 'image': packed(x)}
        vectors.append(head | fields | {'padded_image': packed(padded)})
        if i % 4 != 3:  # every fourth has no label
            label = image(f'label {i}', h, w) % np.uint8(19)
            full = np.pad(label, ((0, bottom), (0, right)), constant_values=255)
            vectors[-1] |= {'label': packed(label), 'padded_label': packed(full)}
    return {'source': 'Section 5 of docs/spec.md, as generate.py implements it.', 'vectors': vectors}


def line(prefix: str, body: bytes) -> str:
    """Return a key line, without its line end."""
    return prefix + base64.urlsafe_b64encode(body).decode().rstrip('=')


def checked(secret: bytes) -> bytes:
    """Return the body of a plain key."""
    return secret + hashlib.sha256(secret).digest()[:4]


def seal(secret: bytes, passphrase: str, log2n: int) -> bytes:
    """Return the body of a sealed key with a fixed salt and nonce."""
    salt, nonce = noise(f'salt {passphrase} {log2n}', 16), noise(f'nonce {passphrase} {log2n}', 12)
    key = Scrypt(salt, 32, 2**log2n, 8, 1).derive(passphrase.encode())
    return bytes([log2n]) + salt + nonce + AESGCM(key).encrypt(nonce, secret, SEALED.encode())


def flip(body: bytes, i: int) -> bytes:
    """Return the body with one bit of byte `i` changed."""
    return body[:i] + bytes([body[i] ^ 1]) + body[i + 1 :]


def key_files() -> Document:
    """Return the vectors of section 6."""
    secret, phrase, accents = noise('key-file secret 1', 32), 'correct horse battery staple', 'Öl für 5 €'
    raw, body = seal(secret, phrase, 10), checked(secret)
    key, other, sealed = line(PLAIN, body), line(PLAIN, checked(OTHER)), line(SEALED, raw)
    loose = sealed[:-1] + chr(ord(sealed[-1]) + 1)  # the lowest bit of the last six
    valid = [  # name, comment, text, passphrase, secret
        ('plain', 'A plain key.', f'{key}\n', None, secret),
        ('plain-counting', 'Another plain key.', line(PLAIN, checked(COUNTING)) + '\n', None, COUNTING),
        ('comments', 'Comments and empty lines.', f'# first\n\n#\n{key}\n\n# last\n', None, secret),
        ('comment-utf8', 'A comment that is not ASCII.', f'# clé\n{key}\n', None, secret),
        ('comment-old-key', 'A key line behind # is a comment.', f'# {other}\n#{other}\n{key}\n', None, secret),
        ('crlf', 'CRLF line ends.', f'# a comment\r\n\r\n{key}\r\n', None, secret),
        ('no-final-newline', 'The last line has no end.', key, None, secret),
        ('sealed-10', 'Sealed, log2N = 10.', f'{sealed}\n', phrase, secret),
        ('sealed-14', 'Sealed, log2N = 14.', f'# sealed\n{line(SEALED, seal(OTHER, phrase, 14))}\n', phrase, OTHER),
        ('sealed-utf8', 'The passphrase is UTF-8.', line(SEALED, seal(OTHER, accents, 10)) + '\n', accents, OTHER),
    ]
    invalid = [  # name, comment, text less the end of its last line, passphrase
        ('empty', 'No byte at all.', '', None),
        ('only-comments', 'No key line.', '# a comment\n\n# another', None),
        ('prefix-unknown', 'An unknown prefix.', line('MMSEG-KEYPROTECT-PRIVATE-KEY-1.', body), None),
        ('prefix-version-2', 'An unknown version.', line('MMSEG-KEYPROTECT-KEY-2.', body), None),
        ('prefix-lower-case', 'The prefix in lower case.', line(PLAIN.lower(), body), None),
        ('prefix-missing', 'The body alone.', line('', body), None),
        ('checksum', 'One bit of the checksum differs.', line(PLAIN, flip(body, 35)), None),
        ('short', 'A secret of 31 bytes with its own checksum.', line(PLAIN, checked(secret[:31])), None),
        ('long', 'A secret of 33 bytes with its own checksum.', line(PLAIN, checked(secret + b'!')), None),
        ('truncated', 'The last four characters are missing.', key[:-4], None),
        ('no-body', 'A prefix and nothing else.', PLAIN, None),
        ('alphabet-plus', 'Standard base64: + for -.', PLAIN + line('', body).replace('-', '+'), None),
        ('alphabet-slash', 'Standard base64: / for _.', PLAIN + line('', body).replace('_', '/'), None),
        ('character-outside', 'An asterisk within the body.', f'{key[:40]}*{key[40:]}', None),
        ('character-non-ascii', 'A letter that is not ASCII within the body.', f'{key[:40]}é{key[40:]}', None),
        ('character-space', 'A space within the body.', f'{key[:40]} {key[40:]}', None),
        ('same-key-twice', 'The same key line twice.', f'{key}\n{key}', None),
        ('two-keys', 'Two different key lines.', f'{key}\n{other}', None),
        ('leading-space', 'A space before the key line.', f' {key}', None),
        ('trailing-space', 'A space after the key line.', f'{key} ', None),
        ('extra-line', 'A line that is neither comment nor key.', f'{key}\nnot a comment', None),
        ('sealed-wrong-passphrase', 'Another passphrase.', sealed, 'wrong horse battery staple'),
        ('sealed-no-passphrase', 'No passphrase is given.', sealed, None),
        ('sealed-padding', 'A = that fills the last group of the base64.', f'{sealed}=', phrase),
        ('sealed-trailing-bits', 'A bit is set that no byte uses.', loose, phrase),
        ('sealed-log2n-0', 'The smallest N of scrypt is 2.', line(SEALED, b'\0' + raw[1:]), phrase),
        ('sealed-log2n-21', 'To be refused before scrypt runs.', line(SEALED, b'\x15' + raw[1:]), phrase),
        ('sealed-log2n-255', 'To be refused before scrypt runs.', line(SEALED, b'\xff' + raw[1:]), phrase),
        ('sealed-truncated', 'The last byte is missing.', line(SEALED, raw[:-1]), phrase),
        ('sealed-version-2', 'An unknown version.', sealed.replace('KEY-1.', 'KEY-2.'), phrase),
        ('sealed-under-plain', 'A sealed body under the plain prefix.', line(PLAIN, raw), phrase),
        ('plain-under-sealed', 'A plain body under the sealed prefix.', line(SEALED, body), phrase),
    ]
    for name, i in (('salt', 1), ('nonce', 17), ('ciphertext', 29), ('tag', 76)):
        invalid.append((f'sealed-{name}', f'One bit of the {name} differs.', line(SEALED, flip(raw, i)), phrase))
    vectors: list[Vector] = []
    for name, comment, text, passphrase, expected in valid:
        vectors.append({'name': name, 'comment': comment, 'expect': 'ok', 'text': text, 'passphrase': passphrase})
        vectors[-1] |= {'secret': expected.hex(), 'key_id': derive(expected, 'key-id', 8).hex()}
    for name, comment, text, passphrase in invalid:
        head = {'name': name, 'comment': comment, 'expect': 'KeyFileError'}
        vectors.append(head | {'text': text and f'{text}\n', 'passphrase': passphrase})
    return {'source': 'Section 6 of docs/spec.md, as generate.py implements it.', 'vectors': vectors}


def reference() -> Document:
    """Return the vectors of section 7, after comparing them with published values.

    Raises:
        ValueError: torch or pyffx does not give the published values.
    """
    import pyffx
    import torch

    vectors: list[Vector] = []
    # The reference takes 8-bit values through float32: x / 255 on loading, then (x * 255).long() in FFX.
    stored = (torch.arange(256, dtype=torch.uint8).float() / 255 * 255).long().numpy()

    def add(kind: str, name: str, comment: str, **fields: Any) -> None:
        vectors.append({'name': name, 'comment': comment, 'expect': 'ok', 'kind': kind} | fields)

    def key(m: int, seed: int) -> np.ndarray:
        return torch.randperm(3 * m * m, generator=torch.Generator().manual_seed(seed)).numpy()

    tables = {}
    for password in ('password', 'another-password'):
        integer = pyffx.Integer(password.encode(), length=3)
        tables[password] = table = np.array([integer.encrypt(x) for x in range(256)], np.uint16)
        comment = 'Where each 8-bit value goes.'
        add('table', f'table-{password}', comment, password=password, divisor=int(table.max()), table=table.tolist())
    published = {'3f3a980d02ff89b9': key(2, 42), '09af84f2aef8981c': key(4, 42), 'ee8010ac40f74595': tables['password']}
    if any(not digest(values).startswith(start) for start, values in published.items()):
        raise ValueError('Expected the published values for seed 42 and password "password", but got others.')
    for m, seed in [(m, 42) for m in (1, 2, 3, 4, 8, 16)] + [(2, 0), (4, 0), (4, 1), (4, 2**32 - 1)]:
        p, n = key(m, seed), 3 * m * m
        keyed = {'keyed': np.flatnonzero(p > n / 2).tolist()}
        comment = f'{n} samples a block; keyed are the positions k with permutation[k] > {n}/2.'
        add('permutation', f'permutation-M{m}-seed{seed}', comment, block_size=m, seed=seed, **listing(p), **keyed)
    cases = [(m, 42, image(f'reference {m}', 2 * m, m, 3)) for m in (1, 2, 3, 4)]
    cases += [(4, 2**32 - 1, image('reference wide', 4, 8, 3)), (8, 42, image('reference large', 8, 8, 3))]
    for m, seed, x in [*cases, (2, 42, EVERY_VALUE)]:
        h, w, p = x.shape[0], x.shape[1], key(m, seed)
        keyed = p > len(p) / 2
        name, comment = f'M{m}-seed{seed}-{h}x{w}', f'{h // m}x{w // m} blocks of {m}x{m} pixels.'
        outputs = [(SHUFFLE, {}, by_block(x, m, lambda v, p=p: v[:, p]))]
        outputs += [(NEGATIVE, {}, by_block(x, m, lambda v, k=keyed: np.where(k, 255 - v, v)))]
        for password, table in tables.items():
            y = by_block(stored[x], m, lambda v, k=keyed, t=table: np.where(k, t[v], v)).astype(np.uint16)
            outputs += [(FFX, {'password': password, 'divisor': int(table.max())}, y)]
        for cipher, fields, y in outputs:
            suffix = ''.join(f'-{fields[field]}' for field in fields if field == 'password')
            head = {'cipher': cipher, 'block_size': m, 'seed': seed} | fields
            add('image', f'{cipher}-{name}{suffix}', comment, **head, plain=packed(x), encrypted=packed(y))
    source = 'The transforms of fugokidi/block_transform (cifar10/keydefense.py), as generate.py implements them.'
    truncation = {str(x): int(y) for x, y in enumerate(stored) if x != y}
    return {'source': source, 'truncation': truncation, 'vectors': vectors}


def features() -> Document:
    """Return section 11's vectors."""
    return feature_vectors(permutation, {'counting': COUNTING, 'other': OTHER})


def ownership() -> Document:
    """Return section 12's vectors."""

    def words(secret: bytes, label: str, count: int) -> list[int]:
        source = Words(secret, label)
        return [source.take() for _ in range(count)]

    return ownership_vectors(words, {'counting': COUNTING, 'other': OTHER})


BUILDERS: dict[str, Callable[[], Document]] = {
    build.__name__: build
    for build in (derivation, ciphers, padding, key_files, reference, sealed_files, features, ownership)
}


def render(name: str) -> str:
    """Return the text of one JSON file: one field a line, so that a change is easy to see."""
    document = BUILDERS[name]()
    vectors = document.pop('vectors')
    if len({vector['name'] for vector in vectors}) != len(vectors):
        raise ValueError(f'Expected each name in {name}.json once.')

    def fields(values: dict[str, Any], indent: str) -> str:
        return ',\n'.join(f'{indent}{json.dumps(key)}: {json.dumps(value)}' for key, value in values.items())

    head = fields({'spec': 1} | document, '  ')
    body = ',\n'.join('    {\n' + fields(vector, '      ') + '\n    }' for vector in vectors)
    return f'{{\n{head},\n  "vectors": [\n{body}\n  ]\n}}\n'


def main() -> int:
    """Write the files, or with ``--check`` compare them; return the exit status."""
    parser = argparse.ArgumentParser(description='Write the test vectors beside this file.')
    parser.add_argument('--check', action='store_true', help='compare with the files and write nothing')
    parser.add_argument('--only', choices=BUILDERS, help='leave the other files alone')
    arguments = parser.parse_args()
    status = 0
    for name in [arguments.only] if arguments.only else BUILDERS:
        path, data = Path(__file__).with_name(f'{name}.json'), render(name).encode()
        if not arguments.check:
            path.write_bytes(data)
        elif not path.is_file() or path.read_bytes() != data:
            print(f'error: {path.name} is not what generate.py makes', file=sys.stderr)
            status = 1
    return status


if __name__ == '__main__':
    sys.exit(main())
