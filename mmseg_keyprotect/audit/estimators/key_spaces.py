"""The keys of a cipher: enumerated in batches, or drawn at random."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import comb, factorial

import numpy as np

from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.reference import reference_permutation
from mmseg_keyprotect.ciphers.transform import BlockTransform

BATCH = 64
"""The number of keys that are scored together."""

MAX_LISTED = 2.0**40
"""Larger key spaces are sampled at random instead of enumerated."""

Keys = tuple[np.ndarray, np.ndarray]
"""``source`` int64 (K, n) and ``signs`` int8 (K, n), 1 or -1."""


def count_keys(info: CipherInfo) -> float:
    """Return the number of keys; for the reference implementation, the number of seeds."""
    if info.reference:
        return 2.0**32
    n = info.samples
    orders = float(factorial(n)) if info.has_order and n < 150 else (np.inf if info.has_order else 1.0)
    return orders * (float(comb(n, n // 2)) if info.has_signs else 1.0)


def key_batches(info: CipherInfo, rng: np.random.Generator) -> Iterator[Keys]:
    """Yield batches of the keys of a cipher without a table.

    Keys come in order, seeds from 0 upwards, since people choose small seeds. Very large key spaces are sampled at
    random.

    Args:
        info: The facts about the cipher.
        rng: The source of random keys.

    Yields:
        ``source``, int64 (K, n), and ``signs``, int8 (K, n), 1 or -1.
    """
    if info.reference:
        keys = _reference(info)
    elif count_keys(info) <= MAX_LISTED:
        keys = _listed(info)
    else:
        keys = _random(info, rng)
    while batch := list(itertools.islice(keys, BATCH)):
        yield np.stack([source for source, _ in batch]), np.stack([signs for _, signs in batch])


def random_key(info: CipherInfo, rng: np.random.Generator) -> BlockTransform:
    """Draw a key of any cipher at random, by the public facts about it."""
    n = info.samples
    half = np.arange(n) < n // 2
    return BlockTransform(
        rng.permutation(n) if info.has_order else None,
        np.where(rng.permutation(half), 255, 0) if info.has_signs else None,
        rng.permutation(half) if info.has_table else np.zeros(n, dtype=bool),
        rng.permutation(DOMAIN)[:256] if info.has_table else None,
    )


def _reference(info: CipherInfo) -> Iterator[Keys]:
    n, identity = info.samples, np.arange(info.samples)
    for seed in range(2**32):
        order = reference_permutation(n, seed)
        if info.has_order:
            yield order, np.ones(n, dtype=np.int8)
        else:
            yield identity, np.where(order > n / 2, np.int8(-1), np.int8(1))


def _listed(info: CipherInfo) -> Iterator[Keys]:
    n = info.samples
    orders = itertools.permutations(range(n)) if info.has_order else [tuple(range(n))]
    for order in orders:
        for flipped in itertools.combinations(range(n), n // 2) if info.has_signs else [()]:
            signs = np.ones(n, dtype=np.int8)
            signs[list(flipped)] = -1
            yield np.array(order), signs


def _random(info: CipherInfo, rng: np.random.Generator) -> Iterator[Keys]:
    n = info.samples
    while True:
        signs = np.ones(n, dtype=np.int8)
        if info.has_signs:
            signs[rng.permutation(n)[: n // 2]] = -1
        yield rng.permutation(n) if info.has_order else np.arange(n), signs
