"""The keys of a cipher, one batch after another, where they can be listed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from math import comb, factorial

import numpy as np

from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.ciphers.reference import reference_permutation

BATCH = 64
"""Keys that are scored together."""

MAX_LISTED = 2.0**40
"""No larger space is gone through in order."""

Keys = tuple[np.ndarray, np.ndarray]
"""``source`` int64 (K, n) and ``signs`` int8 (K, n), 1 or -1."""


def count_keys(form: Form) -> float:
    """Return how many keys there are; of the reference implementation as many as seeds."""
    if form.reference:
        return 2.0**32
    n = form.samples
    orders = float(factorial(n)) if form.has_order and n < 150 else (np.inf if form.has_order else 1.0)
    return orders * (float(comb(n, n // 2)) if form.has_signs else 1.0)


def key_batches(form: Form, rng: np.random.Generator) -> Iterator[Keys]:
    """Yield the keys of ciphers without a table in batches: in order, seeds from 0; too many ones at random.

    Seeds in order begin with those that people choose.
    """
    if form.reference:
        keys = _reference(form)
    elif count_keys(form) <= MAX_LISTED:
        keys = _listed(form)
    else:
        keys = _random(form, rng)
    while batch := list(itertools.islice(keys, BATCH)):
        yield np.stack([source for source, _ in batch]), np.stack([signs for _, signs in batch])


def _reference(form: Form) -> Iterator[Keys]:
    n, identity = form.samples, np.arange(form.samples)
    for seed in range(2**32):
        order = reference_permutation(n, seed)
        if form.has_order:
            yield order, np.ones(n, dtype=np.int8)
        else:
            yield identity, np.where(order > n / 2, np.int8(-1), np.int8(1))


def _listed(form: Form) -> Iterator[Keys]:
    n = form.samples
    orders = itertools.permutations(range(n)) if form.has_order else [tuple(range(n))]
    for order in orders:
        for flipped in itertools.combinations(range(n), n // 2) if form.has_signs else [()]:
            signs = np.ones(n, dtype=np.int8)
            signs[list(flipped)] = -1
            yield np.array(order), signs


def _random(form: Form, rng: np.random.Generator) -> Iterator[Keys]:
    n = form.samples
    while True:
        signs = np.ones(n, dtype=np.int8)
        if form.has_signs:
            signs[rng.permutation(n)[: n // 2]] = -1
        yield rng.permutation(n) if form.has_order else np.arange(n), signs
