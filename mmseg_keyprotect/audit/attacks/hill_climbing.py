"""Search for the key step by step, keeping what makes the model work better on a few images."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.estimators.key_spaces import random_key
from mmseg_keyprotect.audit.estimators.objectives import LabelledLoss, UnlabelledLoss
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.transform import BlockTransform

WINDOWS = 8
"""Windows of images that a key is scored on."""

STARTS = 30
"""Random keys that are tried first."""

ANNEAL = 0.6
"""The share of the time for annealing; greedy steps take the rest."""

KICK = 6
"""Random steps to leave a local minimum."""

COLD = 1e-3
"""The last temperature, as a share of the first."""

Loss = Callable[[Any], float]
"""Scores an estimate of the key; lower is better."""


class RandomKeys(Attack):
    """Try random keys and keep the one that works best on some labelled windows of images."""

    name = 'random-keys'
    needs = ('weights', 'plain images', 'labels')

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Try keys until the time is up."""
        rng = np.random.default_rng()
        count = min(WINDOWS, len(view.plain))
        loss = LabelledLoss(view, count)
        losses: list[float] = []
        best: BlockTransform | None = None
        while not (losses and budget.over):
            value = loss(key := random_key(view.cipher_info, rng))
            if not losses or value < min(losses):
                best = key
            losses.append(value)
            budget.report(f'{len(losses)} keys, loss {min(losses):.3f}')
        sentence = f'{len(losses)} keys tried; loss {np.mean(losses):.3f} on average and {min(losses):.3f} at best.'
        return AttackResult(sentence, key=best, images=count)


class HillClimbing(Attack):
    """Simulated annealing from the best of some random keys, then greedy steps.

    A step swaps two samples or inverts one. With ffx it may also change whether a sample is looked up, or swap two
    values of the table.
    """

    @abstractmethod
    def loss(self, view: View, count: int) -> Loss:
        """Return the function that scores a key on some windows of images."""

    def draw(self, view: View, rng: np.random.Generator) -> Any:
        """Draw a key."""
        return random_key(view.cipher_info, rng)

    def change(self, key: Any, view: View, rng: np.random.Generator) -> Any:
        """Return a random key that is one step away."""
        return change(key, view.cipher_info, rng)

    def steps(self, view: View) -> int:
        """Return the number of keys that are one step away."""
        return steps(view.cipher_info)

    def result(self, view: View, sentence: str, key: Any, images: int) -> AttackResult:
        """Return the result with the best key."""
        return AttackResult(sentence, key=key, images=images)

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Search until the time is up."""
        rng = np.random.default_rng()
        count = min(WINDOWS, len(view.plain))
        loss = self.loss(view, count)
        starts = []
        for _ in range(STARTS):
            starts.append((loss(key := self.draw(view, rng)), key))
            if budget.over:
                break
        best, key = min(starts, key=lambda pair: pair[0])
        first = np.std([value for value, _ in starts]) / 2
        start, value, tried, failed = budget.share, best, len(starts), 0
        current, greedy, enough = key, False, 2 * self.steps(view)
        while not budget.over:
            cool = (budget.share - start) / max(ANNEAL - start, 1e-9)
            temperature = first * COLD**cool if cool < 1 else 0.0
            if cool >= 1 and not greedy:
                greedy, current, value = True, key, best
            step = self.change(current, view, rng)
            new = loss(step)
            tried += 1
            if new < value or (temperature and rng.random() < np.exp((value - new) / temperature)):
                current, value = step, new
                failed = 0
            else:
                failed += 1
            if value < best:
                key, best = current, value
            if not temperature and failed > enough:  # a local minimum: leave it by random steps
                failed = 0
                for _ in range(KICK):
                    current = self.change(current, view, rng)
                value = loss(current)
            budget.report(f'{tried} keys, loss {best:.3f}')
        sentence = f'{tried} keys tried; the loss went from {starts[0][0]:.3f} (random) to {best:.3f}.'
        return self.result(view, sentence, key, count)


class HillClimbingLabels(HillClimbing):
    """Hill climbing guided by the labels of a few images."""

    name = 'hill-climbing-labels'
    needs = ('weights', 'plain images', 'labels')

    def loss(self, view: View, count: int) -> Loss:
        """Return the cross-entropy."""
        return LabelledLoss(view, count)


class HillClimbingEntropy(HillClimbing):
    """Hill climbing guided by confident and varied predictions, and by the statistics of batch norms; no labels."""

    name = 'hill-climbing-entropy'
    needs = ('weights', 'plain images')

    def loss(self, view: View, count: int) -> Loss:
        """Return the unlabelled loss."""
        return UnlabelledLoss(view, count)


def steps(info: CipherInfo) -> int:
    """Return the number of keys that are one step away, not counting swaps in the table."""
    n = info.samples
    return n * (n - 1) // 2 * info.has_order + n * info.has_signs + n * info.has_table


def change(key: BlockTransform, info: CipherInfo, rng: np.random.Generator) -> BlockTransform:
    """Return a random key that is one step away; every part of the key is equally likely."""
    source, mask, keyed = key.source.copy(), key.mask.copy(), key.keyed.copy()
    table = None if key.table is None else key.table.copy()
    parts = ['order'] * info.has_order + ['signs'] * info.has_signs + ['positions', 'table'] * info.has_table
    part = rng.choice(parts)
    one, other = rng.choice(info.samples, 2, replace=False)
    if part == 'order':
        source[[one, other]] = source[[other, one]]
    elif part == 'signs':
        mask[one] ^= 255
    elif part == 'positions':
        keyed[one] = ~keyed[one]
    else:
        assert table is not None, 'a key of a cipher with a table has one'
        first, second = rng.choice(256, 2, replace=False)
        table[[first, second]] = table[[second, first]]
    return BlockTransform(source, mask, keyed, table)
