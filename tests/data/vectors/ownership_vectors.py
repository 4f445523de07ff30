"""The vectors of marks and records (docs/spec.md, section 12), by the letter of the specification; for generate.py."""

import base64
import hashlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np

TENSORS = (
    ('acme', 'backbone.conv1.weight', (8, 3, 3, 3)),
    ('acme', 'backbone.conv1.weight', (8, 27)),
    ('Acme', 'backbone.conv1.weight', (8, 3, 3, 3)),
    ('customer-2@example.org', 'decode_head.conv_seg.weight', (5, 7, 1, 1)),
    ('a', 'pos_embed', (1, 1025, 3)),
)
"""Recipients, names and shapes; the sizes are whole numbers of bytes and of words, and others."""


def signs(words: Callable[[str, int], list[int]], recipient: str, name: str, shape: tuple[int, ...]) -> list[int]:
    """Section 12's signs, in C order."""
    size = math.prod(shape)
    label = f'fingerprint/recipient={recipient}/tensor={name}/shape={"x".join(str(side) for side in shape)}'
    stream = words(label, size // 32 + 1)
    return [1 - 2 * (stream[i // 32] // 2 ** (i % 32) % 2) for i in range(size)]


def state_hash(tensors: list[tuple[str, np.ndarray]]) -> str:
    """Section 12's hash of a state dict."""
    text = b''
    for name, array in sorted(tensors, key=lambda pair: pair[0].encode()):
        shape = 'x'.join(str(side) for side in array.shape)
        text += f'{name}\n{array.dtype.name}\n{shape}\n'.encode() + array.tobytes()
    return hashlib.sha256(text).hexdigest()


def packed(name: str, array: np.ndarray) -> dict[str, Any]:
    """Write a named array as JSON."""
    data = base64.b64encode(array.astype(array.dtype.newbyteorder('<')).tobytes()).decode()
    return dict(name=name, shape=list(array.shape), dtype=array.dtype.name, data=data)


def weights(title: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return fixed float32 weights."""
    noise = hashlib.shake_256(title.encode()).digest(2 * math.prod(shape))
    return (np.frombuffer(noise, '<i2').reshape(shape) / 2**16).astype(np.float32)


def ownership(words: Callable[[bytes, str, int], list[int]], secrets: dict[str, bytes]) -> dict[str, Any]:
    """Return the document, with section 2's words of a secret and a label, as many as asked for."""
    vectors: list[dict[str, Any]] = []

    def add(kind: str, name: str, comment: str, **fields: Any) -> None:
        vectors.append(dict(name=f'{kind}-{name}', comment=comment, expect='ok', kind=kind, **fields))

    for who, secret in secrets.items():

        def draw(label: str, count: int, secret: bytes = secret) -> list[int]:
            return words(secret, label, count)

        for recipient, tensor, shape in TENSORS:
            found = signs(draw, recipient, tensor, shape)
            text = ''.join('-' if sign < 0 else '+' for sign in found)
            add(
                'signs',
                f'{who}-{recipient}-{tensor}-{"x".join(map(str, shape))}',
                'The SHA-256 is that of all signs, as text of + and -.',
                secret=secret.hex(),
                recipient=recipient,
                tensor=tensor,
                shape=list(shape),
                first=text[:64],
                sha256=hashlib.sha256(text.encode()).hexdigest(),
            )
        plain = weights(f'mark {who}', (6, 5))
        moved = np.array(signs(draw, 'acme', 'w', (6, 5))).reshape(6, 5) * plain.astype(float).std() * 0.01
        add(
            'mark',
            who,
            'Equal to the rounding of float32.',
            secret=secret.hex(),
            recipient='acme',
            strength=0.01,
            plain=packed('w', plain),
            marked=packed('w', (plain + moved).astype(np.float32)),
        )
    state = [
        ('b', weights('hash', (2, 3))),
        ('B.x', np.arange(4, dtype=np.int64).reshape(2, 2)),
        ('b.c', weights('half', (3,)).astype(np.float16)),
        ('a', np.array(7, dtype=np.int64)),
    ]
    tensors = [packed(name, array) for name, array in state]
    add('weights', 'mixed', 'Names in byte order: B.x, a, b, b.c.', tensors=tensors, sha256=state_hash(state))
    record = dict(
        version=1,
        recipient='acme',
        key_id='70a28782cc93edea',
        strength=0.003,
        original=state_hash(state),
        copy=hashlib.sha256(b'copy').hexdigest(),
        file=hashlib.sha256(b'file').hexdigest(),
        date='2026-01-31T12:00:00Z',
        salt=hashlib.sha256(b'salt').hexdigest(),
    )
    text = '{' + ','.join(f'{json.dumps(name)}:{json.dumps(record[name])}' for name in sorted(record)) + '}'
    add('record', 'acme', 'What a commitment holds.', record=record, sha256=hashlib.sha256(text.encode()).hexdigest())
    return dict(source='docs/spec.md, section 12', vectors=vectors)
