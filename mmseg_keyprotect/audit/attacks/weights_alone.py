"""Key recovery from the weights: the columns of a block stem reveal the key that it has absorbed."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.matching import match, match_features
from mmseg_keyprotect.audit.estimators.objectives import UnlabelledLoss
from mmseg_keyprotect.audit.estimators.stem_columns import (
    border_signs,
    columns_of,
    energies,
    find_block_stem,
    likeness,
    public_columns,
    to_key,
    typical_columns,
)
from mmseg_keyprotect.audit.estimators.stem_structure import CHANNELS, STATES, StemStructure, find_pixels
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.stem.block_stem import BlockStem
from mmseg_keyprotect.ownership.alignment import match_rows

FEW_CLASSES = 6
"""Up to this many classes of pixels their colours and signs are tried; else columns are matched with typical ones."""

WINDOWS = 6
"""Windows of images that a key is scored on."""

SETTLED = 5
"""The search ends after this many starts in a row without an improvement."""


class WeightsAlone(Attack):
    """Match the columns with those of the public model, or locate them by the structure of a lifted stem.

    A lifted stem has zeros where the kernel does not reach, which tells the pixel of each column. It holds every tap
    several times, which ties columns and signs together. The colours and signs of a few classes of pixels remain: they
    are tried, guided by the entropy of the predictions for plain images. If every tap occurs only once, the attack can
    only use the smoothness of typical filters. The border ``exact`` reveals all signs.
    """

    name = 'weights-alone'
    needs = ('weights', 'plain images')
    uses = ('public weights',)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Match columns."""
        stem = find_block_stem(view.model)
        if stem is None:
            raise NotApplicable('the model has no block stem, so its first convolution has no column for each sample')
        columns, public, images = columns_of(stem), None, 0
        if view.public_weights is not None:
            public = public_columns(stem, view.model, view.public_weights, view.network_sees_rgb)
        if public is not None:
            key, sentence = _key(view, stem, *_match_public(columns, public)), 'Compared with the public model.'
        else:
            structure = _structure(columns, stem)
            if structure is not None and (classes := structure.classes.max() + 1) <= FEW_CLASSES:
                images = min(WINDOWS, len(view.plain))
                key, tried = _try_states(view, stem, structure, budget)
                sentence = f'Zeros and copies leave {classes} classes of pixels; {tried} of their states tried.'
            else:
                key = _key(view, stem, *_match_typical(columns, stem, budget))
                sentence = 'Compared with typical filters.'
            if view.public_weights is not None:
                sentence += ' The public weights have no first convolution of this shape.'
        if view.cipher_info.has_signs and (shown := border_signs(stem)) is not None:
            key = BlockTransform(key.source, _key(view, stem, np.arange(len(shown)), shown).mask)
            sentence += ' The border reveals the signs.'
        return AttackResult(sentence=sentence, key=key, images=images)


def _key(view: View, stem: BlockStem, source: np.ndarray, signs: np.ndarray) -> BlockTransform:
    key = to_key(stem, source, signs, view.network_sees_rgb)
    return BlockTransform(
        key.source if view.cipher_info.has_order else None,
        key.mask if view.cipher_info.has_signs else np.zeros(len(signs)),
    )


def _structure(columns: Tensor, stem: BlockStem) -> StemStructure | None:
    """Return what zeros and copies reveal; None for images without three colours, whose states are not listed."""
    if stem.plain_shape[1] != CHANNELS:
        return None
    return StemStructure(columns, find_pixels(energies(columns, stem.grid), stem.grid), stem.grid)


def _match_public(columns: Tensor, public: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Assign each column to the most similar public column, up to sign."""
    order = match_rows(*(value.transpose(0, 1).numpy() for value in (public, columns)))
    return order.source, order.sign


def _match_typical(columns: Tensor, stem: BlockStem, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """Assign columns so that they resemble each other as those of typical filters do."""
    typical = typical_columns(stem.grid, stem.plain_shape[1])
    seen, known = likeness(columns), likeness(typical)
    signs = np.where(np.linalg.eigh(seen[0])[1][:, -1] < 0, -1, 1)
    signed = [matrix * signs[:, None] * signs for matrix in seen]
    start = match_features(energies(columns, stem.grid), energies(typical, stem.grid))
    return match(signed, known, start, budget), signs


def _try_states(view: View, stem: BlockStem, structure: StemStructure, budget: Budget) -> tuple[BlockTransform, int]:
    """Search by coordinate descent over the states of the classes, from several starts, until the time is up."""
    loss = UnlabelledLoss(view, min(WINDOWS, len(view.plain)))
    rng, pixels, classes = np.random.default_rng(), stem.grid.block_size**2, structure.classes.max() + 1
    known: dict[tuple, float] = {}

    def key_of(states: tuple) -> BlockTransform:
        channels, signs = structure.resolve(list(states))
        return _key(view, stem, channels * pixels + structure.pixels, signs)

    def value_of(states: tuple) -> float:
        if states not in known:
            known[states] = loss(key_of(states))
            budget.report(f'{len(known)} tried, loss {min(known.values()):.3f}')
        return known[states]

    guesses = [(value_of(states), states) for states in structure.guesses() if not budget.over]
    starts = [states for _, states in sorted(guesses)]
    settled = 0
    while not budget.over and settled < SETTLED:
        states = starts.pop(0) if starts else tuple(STATES[i] for i in rng.integers(len(STATES), size=classes))
        least, improved = min(known.values()), True
        while improved and not budget.over:
            improved = False
            for c in rng.permutation(classes):
                ways = [(*states[:c], state, *states[c + 1 :]) for state in STATES]
                values = [value_of(way) for way in ways if not budget.over]
                if values and min(values) < value_of(states):
                    states, improved = ways[int(np.argmin(values))], True
        settled = settled + 1 if min(known.values()) >= least else 0
    best = min(known, key=known.__getitem__) if known else structure.guesses()[0]
    return key_of(best), len(known)
