"""A known-plaintext attack: find how many blocks with their encrypted form fix the whole key."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform


@dataclass
class Match:
    """What pairs of blocks reveal.

    Args:
        transform: An estimate that fits all pairs.
        whole: Whether no other estimate fits.
        open_values: The number of values of the table that never occurred.
    """

    transform: BlockTransform
    whole: bool
    open_values: int


class KnownPairs(Attack):
    """Match plain and encrypted samples by the blocks in which their values repeat, which no cipher here changes."""

    name = 'known-pairs'
    needs = ('pairs',)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Search for the smallest number of blocks, in the order of the images, that fixes the key."""
        pairs, info = view.pairs, view.cipher_info
        plain = info.blocks([image for image, _ in pairs])
        encrypted = info.blocks([image for _, image in pairs]).astype(np.int64)
        per_image = [image.size // info.samples for image, _ in pairs]
        low, count = 0, 1
        high: int | None = None  # the key is known with `high` blocks and not with `low`
        best: Match | None = None
        while high is None or high - low > 1:
            match = match_blocks(plain[:count], encrypted[:count], info)
            budget.report(f'{count} blocks')
            if match.whole:
                high, best = count, match
            else:
                low = count
                if best is None and (count == len(plain) or budget.over):
                    best = match
                    break
            count = (low + high) // 2 if high else min(2 * count, len(plain))
            if budget.over and best is not None:
                break
        assert best is not None, 'the loop ends with a match'
        images = int(np.searchsorted(np.cumsum(per_image), high or low) + 1)
        if high is not None:
            sentence = (
                f'{_count(high, "block")} of {_count(images, "image")} with the encrypted form fix the whole key.'
            )
        else:
            missing = f': {best.open_values} of 256 values never occurred' if best.open_values else ''
            sentence = f'{_count(low, "block")} of {_count(images, "image")} leave a part of the key open{missing}.'
        return AttackResult(sentence=sentence, key=best.transform, images=images)


def match_blocks(plain: np.ndarray, encrypted: np.ndarray, info: CipherInfo) -> Match:
    """Find a key that turns plain blocks into encrypted ones.

    Args:
        plain: uint8 (N, n).
        encrypted: int64 (N, n).
        info: The public facts about the cipher.
    """
    n, plain = info.samples, plain.astype(np.int64)
    source, unique = _match_columns(plain, encrypted) if info.has_order else (np.arange(n), True)
    moved = plain[:, source]
    same, inverted = (encrypted == moved).all(0), (encrypted == 255 - moved).all(0)
    flipped = inverted & ~same if info.has_signs else np.zeros(n, dtype=bool)
    if not info.has_table:
        clear = not (same & inverted).any()
        return Match(BlockTransform(source, np.where(flipped, 255, 0)), unique and clear, 0)
    keyed = ~same & ~flipped
    if not keyed.any():
        return Match(BlockTransform(source, np.where(flipped, 255, 0)), False, 256)
    table, mirrored = np.full(256, -1), np.zeros(n, dtype=bool)
    for k in np.flatnonzero(keyed):
        known = table[moved[:, k]]
        mirrored[k] = info.has_signs and bool(((known >= 0) & (known != encrypted[:, k])).any())
        table[255 - moved[:, k] if mirrored[k] else moved[:, k]] = encrypted[:, k]
    missing = table < 0
    free = np.setdiff1d(np.arange(DOMAIN), table)
    table[missing] = np.random.default_rng(0).permutation(free)[: missing.sum()]
    mask = np.where(flipped | mirrored, 255, 0)
    return Match(BlockTransform(source, mask, keyed, table), unique and not missing.any(), int(missing.sum()))


def _match_columns(plain: np.ndarray, encrypted: np.ndarray) -> tuple[np.ndarray, bool]:
    """Match columns by the pattern of their equal values; also return whether every pattern is unique."""
    places: dict[bytes, list[int]] = {}
    for j, column in enumerate(plain.T):
        places.setdefault(_pattern(column), []).append(j)
    unique = all(len(same) == 1 for same in places.values())
    source, left = np.full(plain.shape[1], -1), []
    for k, column in enumerate(encrypted.T):
        same = places.get(_pattern(column))
        if same:
            source[k] = same.pop(0)
        else:
            left.append(k)
    source[left] = np.setdiff1d(np.arange(plain.shape[1]), source)
    return source, unique and not left


def _pattern(column: np.ndarray) -> bytes:
    """Number the values of a column by their first occurrence, and return the numbers as bytes."""
    _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32).tobytes()


def _count(number: int, word: str) -> str:
    return f'{number} {word}{"" if number == 1 else "s"}'
