"""The vectors of feature maps (docs/spec.md, section 11), by the letter of the specification; used by generate.py."""

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

PLACES = ('stage=0', 'stage=3', 'stage=2/block=1')
SEQUENCES = (
    ['feature-shuffle'],
    ['feature-sign'],
    ['feature-block-shuffle'],
    ['feature-shuffle', 'feature-sign'],
    ['feature-sign', 'feature-shuffle'],
    ['feature-shuffle', 'feature-sign', 'feature-block-shuffle'],
)


def packed(array: np.ndarray) -> dict[str, Any]:
    """Write an array of int16 as JSON."""
    data = base64.b64encode(array.astype('<i2').tobytes()).decode()
    return dict(shape=list(array.shape), dtype='int16', data=data)


def transformed(x: np.ndarray, word: str, place: str, m: int, draw: Callable[[str, int], np.ndarray]) -> np.ndarray:
    """Apply one transform to a map (H, W, C)."""
    channels, y = x.shape[2], x.copy()
    if word == 'feature-shuffle':
        return x[..., draw(f'feature-shuffle/{place}/C={channels}', channels)]
    if word == 'feature-sign':
        keyed = draw(f'feature-sign/{place}/C={channels}', channels)[: channels // 2]
        y[..., keyed] *= -1
        return y
    p = draw(f'feature-block-shuffle/{place}/M={m}/C={channels}', m * m * channels)
    for top in range(0, x.shape[0] - m + 1, m):
        for left in range(0, x.shape[1] - m + 1, m):
            block = x[top : top + m, left : left + m].reshape(-1)
            y[top : top + m, left : left + m] = block[p].reshape(m, m, channels)
    return y


def features(permutation: Callable, secrets: dict[str, bytes]) -> dict[str, Any]:
    """Return the document, with section 2's ``permutation(secret, label, n)`` of the caller."""
    vectors = []
    for name, secret in secrets.items():
        for words in SEQUENCES:
            for place, channels in zip(PLACES, (8, 13, 32), strict=True):
                m = 2 if words[-1] == 'feature-block-shuffle' else 1
                title = f'{"+".join(words)}-{place}-{name}'
                noise = hashlib.shake_256(title.encode()).digest(2 * 5 * 4 * channels)
                plain = np.frombuffer(noise, dtype='<i2').reshape(5, 4, channels) // 2
                y = plain
                for word in words:
                    y = transformed(y, word, place, m, lambda label, n, secret=secret: permutation(secret, label, n)[0])
                vectors.append(
                    dict(
                        name=title,
                        comment='a row fills no block' if m > 1 else 'at every position alike',
                        expect='ok',
                        secret=secret.hex(),
                        ciphers=words,
                        place=place,
                        block_size=m,
                        plain=packed(plain),
                        encrypted=packed(y),
                    )
                )
    return dict(source='docs/spec.md, section 11', vectors=vectors)
