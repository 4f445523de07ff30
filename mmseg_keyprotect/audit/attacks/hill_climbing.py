"""Search for the key step by step: whatever makes the model work better on a few images is kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.audit.estimators.objectives import LabelledLoss, UnlabelledLoss
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform

WINDOWS = 8
STARTS = 30
ANNEAL = 0.6
"""The part of the time that goes to annealing; greedy steps are the rest."""

KICK = 6
"""Steps at random where no single one helps."""

COLD = 1e-3
"""The last temperature, as a part of the first."""

Loss = Callable[[Any], float]
"""What says how well an estimate of the key works, the lower the better."""


class RandomKeys(Attack):
    """One random key after another; the one that works best on some labelled windows is kept."""

    name = 'random-keys'
    needs = ('weights', 'plain images', 'labels')

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Try for as long as the budget allows."""
        rng = np.random.default_rng()
        count = min(WINDOWS, len(target.plain))
        loss, losses, best = LabelledLoss(target, count), [], None
        while not (losses and budget.over):
            value = loss(key := random_key(target.form, rng))
            if not losses or value < min(losses):
                best = key
            losses.append(value)
            budget.say(f'{len(losses)} keys, loss {min(losses):.3f}')
        sentence = f'{len(losses)} keys tried; the loss is {np.mean(losses):.3f} on average, {min(losses):.3f} at best.'
        return AttackResult(sentence, key=best, images=count)


class HillClimbing(Attack):
    """Simulated annealing, then greedy steps, from the best of some random keys.

    A step swaps two samples, inverts one, or (ffx) changes whether one is looked up, or swaps two values of the table.
    """

    @abstractmethod
    def loss(self, target: Target, count: int) -> Loss:
        """Return what says how well a key works on some windows of images."""

    def draw(self, target: Target, rng: np.random.Generator) -> Any:
        """Draw a key."""
        return random_key(target.form, rng)

    def change(self, key: Any, target: Target, rng: np.random.Generator) -> Any:
        """Return a key one step away, at random."""
        return change(key, target.form, rng)

    def steps(self, target: Target) -> int:
        """Return how many keys are one step away."""
        return steps(target.form)

    def result(self, target: Target, sentence: str, key: Any, images: int) -> AttackResult:
        """Return what was found."""
        return AttackResult(sentence, key=key, images=images)

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Search for as long as the budget allows."""
        rng = np.random.default_rng()
        count = min(WINDOWS, len(target.plain))
        loss = self.loss(target, count)
        starts = []
        for _ in range(STARTS):
            starts.append((loss(key := self.draw(target, rng)), key))
            if budget.over:
                break
        best, key = min(starts, key=lambda pair: pair[0])
        first = np.std([value for value, _ in starts]) / 2
        start, value, tried, failed = budget.share, best, len(starts), 0
        current, greedy, enough = key, False, 2 * self.steps(target)
        while not budget.over:
            cool = (budget.share - start) / max(ANNEAL - start, 1e-9)
            temperature = first * COLD**cool if cool < 1 else 0.0
            if cool >= 1 and not greedy:
                greedy, current, value = True, key, best
            step = self.change(current, target, rng)
            new = loss(step)
            tried += 1
            if new < value or (temperature and rng.random() < np.exp((value - new) / temperature)):
                current, value = step, new
                failed = 0
            else:
                failed += 1
            if value < best:
                key, best = current, value
            if not temperature and failed > enough:  # no single step helps: away from there, and on
                failed = 0
                for _ in range(KICK):
                    current = self.change(current, target, rng)
                value = loss(current)
            budget.say(f'{tried} keys, loss {best:.3f}')
        sentence = f'{tried} keys tried; the loss went from {starts[0][0]:.3f} (random) to {best:.3f}.'
        return self.result(target, sentence, key, count)


class HillClimbingLabels(HillClimbing):
    """Led by the labels of a few images."""

    name = 'hill-climbing-labels'
    needs = ('weights', 'plain images', 'labels')

    def loss(self, target: Target, count: int) -> Loss:
        """Return the cross-entropy."""
        return LabelledLoss(target, count)


class HillClimbingEntropy(HillClimbing):
    """Led by how sure and how varied the predictions are, and by what the batch norms remember."""

    name = 'hill-climbing-entropy'
    needs = ('weights', 'plain images')

    def loss(self, target: Target, count: int) -> Loss:
        """Return the entropy."""
        return UnlabelledLoss(target, count)


def random_key(form: Form, rng: np.random.Generator) -> BlockTransform:
    """Draw a key."""
    n = form.samples
    half = rng.permutation(n) < n // 2
    return BlockTransform(
        rng.permutation(n) if form.has_order else None,
        np.where(rng.permutation(n) < n // 2, 255, 0) if form.has_signs else None,
        half if form.has_table else np.zeros(n, dtype=bool),
        rng.permutation(DOMAIN)[:256] if form.has_table else None,
    )


def steps(form: Form) -> int:
    """Return how many keys are one step away, the table's aside."""
    n = form.samples
    return n * (n - 1) // 2 * form.has_order + n * form.has_signs + n * form.has_table


def change(key: BlockTransform, form: Form, rng: np.random.Generator) -> BlockTransform:
    """Take one step at random; each part of the key has its turn as often."""
    source, mask, keyed = key.source.copy(), key.mask.copy(), key.keyed.copy()
    table = None if key.table is None else key.table.copy()
    parts = ['order'] * form.has_order + ['signs'] * form.has_signs + ['positions', 'table'] * form.has_table
    part = rng.choice(parts)
    one, other = rng.choice(form.samples, 2, replace=False)
    if part == 'order':
        source[[one, other]] = source[[other, one]]
    elif part == 'signs':
        mask[one] ^= 255
    elif part == 'positions':
        keyed[one] = ~keyed[one]
    else:
        first, second = rng.choice(256, 2, replace=False)
        table[[first, second]] = table[[second, first]]
    return BlockTransform(source, mask, keyed, table)
