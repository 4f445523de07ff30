"""Random numbers and permutations that are derived from a key (docs/spec.md, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from mmseg_keyprotect.keys import SecretKey

_WORDS_AT_ONCE = 1024


def keystream(key: SecretKey, label: str) -> Callable[[int], bytes]:
    """Return a function that takes further bytes of the ChaCha20 keystream of ``key.derive(label, 32)``.

    Example:
        >>> len(keystream(SecretKey.generate(), 'my-purpose')(5))
        5
    """
    stream = Cipher(algorithms.ChaCha20(key.derive(label, 32), nonce=bytes(16)), mode=None).encryptor()
    return lambda size: stream.update(bytes(size))


def words(key: SecretKey, label: str) -> Iterator[int]:
    """Yield the ChaCha20 keystream of ``key.derive(label, 32)`` as little-endian uint32 words, without end.

    Example:
        >>> 0 <= next(words(SecretKey.generate(), 'my-purpose')) < 2**32
        True
    """
    take = keystream(key, label)
    while True:
        yield from np.frombuffer(take(4 * _WORDS_AT_ONCE), dtype='<u4').tolist()


def uniform(source: Iterator[int], n: int) -> int:
    """Draw an integer from 0 to n - 1 without modulo bias.

    Args:
        source: uint32 words. Words that would cause a bias are skipped.
        n: 1 to 2**32.

    Example:
        >>> uniform(iter([2**32 - 1, 7]), 3)
        1
    """
    limit = 2**32 - 2**32 % n
    return next(word for word in source if word < limit) % n


def permutation(key: SecretKey, n: int, label: str) -> npt.NDArray[np.int64]:
    """Draw a permutation of 0 to n - 1 with the Fisher-Yates shuffle.

    Args:
        key: The secret key.
        n: The number of elements.
        label: What the permutation is for; every label gives an independent one.

    Returns:
        int64 (n,).

    Example:
        >>> sorted(permutation(SecretKey.generate(), 4, 'my-purpose').tolist())
        [0, 1, 2, 3]
    """
    source = words(key, label)
    order = list(range(n))
    for i in range(n - 1, 0, -1):
        j = uniform(source, i + 1)
        order[i], order[j] = order[j], order[i]
    return np.array(order, dtype=np.int64)
