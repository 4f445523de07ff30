"""The weights alone: a block stem that absorbed the key shows it in its columns."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
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
from mmseg_keyprotect.audit.estimators.stem_structure import STATES, StemStructure, find_pixels
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.stem.block_stem import BlockStem

FEW_CLASSES = 6
"""Of pixels, whose colours and signs are tried; with more the columns are matched with those of typical filters."""

WINDOWS = 6
SETTLED = 5
"""Starts in a row that lead to nothing better, after which the search ends."""


class WeightsAlone(Attack):
    """Match the columns with those of the public model, or find their places from what a lifted stem must look like.

    A lifted stem has zeros where the kernel does not reach, which tells the pixel of each column, and holds every tap
    several times, which ties columns and signs together. What is left, the colours and signs of a few classes of
    pixels, is tried, led by the entropy of what the model says to plain images. Where every tap stands once, the
    smoothness of typical filters is all there is. The border ``exact`` shows all signs.
    """

    name = 'weights-alone'
    needs = ('weights', 'plain images')

    def refusal(self, target: Target) -> str | None:
        """Say where the key is in no columns."""
        if find_block_stem(target.model) is None:
            return 'Not tried: the model has no block stem, so that its first convolution shows no samples of blocks.'
        return None

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Match columns."""
        stem = find_block_stem(target.model)
        columns, public, images = columns_of(stem), None, 0
        if target.public_weights is not None:
            public = public_columns(stem, target.model, target.public_weights)
        if public is not None:
            key, said = _key(target, stem, *_match_public(columns, public)), 'Compared with the public model.'
        else:
            pixels = find_pixels(energies(columns, stem.grid), stem.grid)
            structure = StemStructure(columns, pixels, stem.grid)
            if (classes := structure.classes.max() + 1) <= FEW_CLASSES:
                images = min(WINDOWS, len(target.plain))
                key, tried = _try_states(target, stem, structure, budget)
                said = f'Zeros and copies leave {classes} classes of pixels; {tried} of their colours and signs tried.'
            else:
                key = _key(target, stem, *_match_typical(columns, stem, budget))
                said = 'Compared with typical filters.'
            if target.public_weights is not None:
                said += ' The public weights have no first convolution of this shape.'
        if target.form.has_signs and (shown := border_signs(stem)) is not None:
            key = BlockTransform(key.source, _key(target, stem, np.arange(len(shown)), shown).mask)
            said += ' The border shows the signs.'
        return AttackResult(sentence=said, key=key, images=images)


def _key(target: Target, stem: BlockStem, source: np.ndarray, signs: np.ndarray) -> BlockTransform:
    key = to_key(stem, source, signs)
    return BlockTransform(
        key.source if target.form.has_order else None, key.mask if target.form.has_signs else np.zeros(len(signs))
    )


def _match_public(columns: Tensor, public: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Assign each column to the public one that it is most alike, up to sign."""
    seen, known = (
        value.transpose(0, 1).flatten(1) / value.transpose(0, 1).flatten(1).norm(dim=1, keepdim=True).clamp_min(1e-12)
        for value in (columns, public)
    )
    alike = (seen @ known.T).numpy()
    source = linear_sum_assignment(abs(alike), maximize=True)[1]
    return source, np.where(alike[np.arange(len(source)), source] < 0, -1, 1)


def _match_typical(columns: Tensor, stem: BlockStem, budget: Budget) -> tuple[np.ndarray, np.ndarray]:
    """Assign columns where they are as alike one another as those of typical filters."""
    typical = typical_columns(stem.grid, stem.plain_shape[1])
    seen, known = likeness(columns), likeness(typical)
    signs = np.where(np.linalg.eigh(seen[0])[1][:, -1] < 0, -1, 1)
    seen = tuple(matrix * signs[:, None] * signs for matrix in seen)
    start = match_features(energies(columns, stem.grid), energies(typical, stem.grid))
    return match(seen, known, start, budget), signs


def _try_states(
    target: Target, stem: BlockStem, structure: StemStructure, budget: Budget
) -> tuple[BlockTransform, int]:
    """Try the states of one class after another, again and again, from several starts, while there is time."""
    loss = UnlabelledLoss(target, min(WINDOWS, len(target.plain)))
    rng, pixels, classes = np.random.default_rng(), stem.grid.block_size**2, structure.classes.max() + 1
    known: dict[tuple, float] = {}

    def key_of(states: tuple) -> BlockTransform:
        channels, signs = structure.resolve(list(states))
        return _key(target, stem, channels * pixels + structure.pixels, signs)

    def value_of(states: tuple) -> float:
        if states not in known:
            known[states] = loss(key_of(states))
            budget.say(f'{len(known)} tried, loss {min(known.values()):.3f}')
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
    best = min(known, key=known.get) if known else structure.guesses()[0]
    return key_of(best), len(known)
