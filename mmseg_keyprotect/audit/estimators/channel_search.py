"""Search for the order of channels of the lowest energy, and tell without the truth whether to go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.channel_fit import Arrangement, ChannelFit, Memory

HOT, WARM, COLD = 10.0, 2.0, 1.0
"""Temperatures, in units of the energy: the first one of a run from a random order, and of a run from the best order
so far; and the last one."""

NOISE = 0.02
"""The variance of the errors that the search expects, relative to the spread of an output."""

SWEEPS, GROWTH = 50, 1.2
"""Sweeps over all channels of the first run, and how many times as many each further run has."""

LIKE = 1e-3
"""Runs agree if their energies differ by less than this share of the way from a random order."""

RUNS = 5
"""Runs from random orders that must agree, since two or three may end in the same wrong place."""


@dataclass(frozen=True)
class FoundOrder:
    """The best order of a search.

    Args:
        source: int64 (C,).
        energy: Its energy.
        random: The energy of a random order.
        agreed: Whether ``RUNS`` runs from different random orders ended here.
    """

    source: np.ndarray
    energy: float
    random: float
    agreed: bool


def find_order(memory: Memory, budget: Budget, seconds: float, rng: np.random.Generator) -> FoundOrder:
    """Search by annealing, by turns from a random order and from the best order so far.

    A wrong order shows by its energy: another run goes lower. So the search ends when several runs from random orders
    ended at the lowest energy, or when the time is up.

    Args:
        memory: What the readers show, and the measured statistics.
        budget: The budget of the attack.
        seconds: The time for this search.
        rng: Draws the first orders and the steps.
    """
    fit = ChannelFit(memory)
    until = min(budget.spent + seconds, budget.seconds)
    source = rng.permutation(fit.channels)
    random = best = fit.energy(source)
    ended, run = 0, 0
    while ended < RUNS and budget.spent < until:
        anew = run % 2 == 0
        temperatures = np.geomspace(HOT if anew else WARM, COLD, int(SWEEPS * GROWTH**run))
        start = rng.permutation(fit.channels) if anew else source
        found = _anneal(fit, start, temperatures, lambda: budget.spent > until, rng)
        energy = fit.energy(found)
        if energy < best - LIKE * (random - energy):
            ended = 0
        if energy < best:
            source, best = found, energy
        ended += anew and energy - best < LIKE * (random - best)
        run += 1
    return FoundOrder(source, best, random, ended >= RUNS)


def _anneal(
    fit: ChannelFit, source: np.ndarray, temperatures: np.ndarray, over: Callable[[], bool], rng: np.random.Generator
) -> np.ndarray:
    """Swap channels at random, better swaps more often, at falling temperatures; then descend."""
    now = Arrangement(fit, source)
    for temperature in temperatures:
        for k in rng.permutation(fit.channels):
            chances = -now.energies(k, NOISE) / temperature + rng.gumbel(size=fit.channels)
            if (other := int(chances.argmax())) != k:
                now.swap(k, other)
        now.settle()
        if over():
            break
    return _descend(fit, now)


def _descend(fit: ChannelFit, now: Arrangement) -> np.ndarray:
    """Take the best swap of each channel in turn, until none is an improvement."""
    improved = True
    while improved:
        improved = False
        for k in range(fit.channels):
            energies = now.energies(k)
            other = int(energies.argmin())
            if energies[other] < energies[k] - LIKE:
                now.swap(k, other)
                improved = True
        now.settle()
    return now.source
