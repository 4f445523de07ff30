"""Images with their encrypted form: how many blocks of them until the whole key is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform


@dataclass
class Match:
    """What pairs of blocks tell.

    Args:
        transform: An estimate that fits all of them.
        whole: Whether no other fits.
        open_values: How many values of the table were never seen.
    """

    transform: BlockTransform
    whole: bool
    open_values: int


class KnownPairs(Attack):
    """Match the columns of plain and encrypted blocks by where their values repeat, which no cipher here changes."""

    name = 'known-pairs'
    needs = ('pairs',)

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Take more and more blocks, in the order of the images, until the key is known."""
        pairs = target.pairs
        plain = target.form.blocks([image for image, _ in pairs])
        encrypted = target.form.blocks([image for _, image in pairs]).astype(np.int64)
        per_image = [image.size // target.form.samples for image, _ in pairs]
        low, high, count = 0, None, 1  # known with `high` blocks, not with `low`
        best = None
        while high is None or high - low > 1:
            match = match_blocks(plain[:count], encrypted[:count], target.form)
            budget.say(f'{count} blocks')
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
        images = int(np.searchsorted(np.cumsum(per_image), high or low) + 1)
        if best.whole:
            said = f'{_count(high, "block")} of {_count(images, "image")} with the encrypted form fix the whole key.'
        else:
            missing = f': {best.open_values} of 256 values never occurred' if best.open_values else ''
            said = f'{_count(low, "block")} of {_count(images, "image")} leave a part of the key open{missing}.'
        return AttackResult(sentence=said, key=best.transform, images=images)


def match_blocks(plain: np.ndarray, encrypted: np.ndarray, form: Form) -> Match:
    """Find a key that turns plain blocks into encrypted ones.

    Args:
        plain: uint8 (N, n).
        encrypted: int64 (N, n).
        form: Of the cipher.
    """
    n, plain = form.samples, plain.astype(np.int64)
    source, unique = _match_columns(plain, encrypted) if form.has_order else (np.arange(n), True)
    moved = plain[:, source]
    same, inverted = (encrypted == moved).all(0), (encrypted == 255 - moved).all(0)
    flipped = inverted & ~same if form.has_signs else np.zeros(n, dtype=bool)
    if not form.has_table:
        clear = not (same & inverted).any()
        return Match(BlockTransform(source, np.where(flipped, 255, 0)), unique and clear, 0)
    keyed = ~same & ~flipped
    if not keyed.any():
        return Match(BlockTransform(source, np.where(flipped, 255, 0)), False, 256)
    table, mirrored = np.full(256, -1), np.zeros(n, dtype=bool)
    for k in np.flatnonzero(keyed):
        known = table[moved[:, k]]
        mirrored[k] = form.has_signs and bool(((known >= 0) & (known != encrypted[:, k])).any())
        table[255 - moved[:, k] if mirrored[k] else moved[:, k]] = encrypted[:, k]
    missing = table < 0
    free = np.setdiff1d(np.arange(DOMAIN), table)
    table[missing] = np.random.default_rng(0).permutation(free)[: missing.sum()]
    mask = np.where(flipped | mirrored, 255, 0)
    return Match(BlockTransform(source, mask, keyed, table), unique and not missing.any(), int(missing.sum()))


def _match_columns(plain: np.ndarray, encrypted: np.ndarray) -> tuple[np.ndarray, bool]:
    """Match columns by the pattern of their equal values; tell whether each pattern occurs once."""
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
    """Number the values of a column by their first occurrence."""
    _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse].astype(np.int32).tobytes()


def _count(number: int, word: str) -> str:
    return f'{number} {word}{"" if number == 1 else "s"}'
