"""All keys, one after another: a full search where it is feasible, else a part of it and what all of it would take."""

from __future__ import annotations

import itertools

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, Budget
from mmseg_keyprotect.audit.estimators.key_spaces import count_keys, key_batches
from mmseg_keyprotect.audit.estimators.natural_score import NaturalScore
from mmseg_keyprotect.audit.target import Target
from mmseg_keyprotect.ciphers.reference import reference_permutation, reference_table
from mmseg_keyprotect.ciphers.transform import BlockTransform

STANDS_OUT = 0.01
"""Energy above that of plain images, as a part of that of wrong keys, below which a seed is the right one."""

TABLE_PASSWORD = 'password'
"""Of the published code; a thief tries it first."""

YEAR = 365.25 * 24 * 3600


class Exhaustive(Attack):
    """Try keys until one makes the encrypted images look natural; measure keys a second.

    With a table only the reference implementation's seeds are tried, by the positions whose values exceed 255.
    """

    name = 'exhaustive'
    needs = ('encrypted images', 'plain images')

    def run(self, target: Target, budget: Budget) -> AttackResult:
        """Search for as long as the budget allows."""
        if not target.form.has_table:
            return self._search(target, budget)
        return self._search_positions(target, budget) if target.form.reference else self._refuse(target)

    def _search(self, target: Target, budget: Budget) -> AttackResult:
        form, total = target.form, count_keys(target.form)
        score = NaturalScore(target.encrypted, target.plain, form)
        best, tried, mean, found, start = (np.inf, None), 0, 0.0, False, budget.spent
        for source, signs in key_batches(form, np.random.default_rng()):
            energies = score.energies(source, signs) - score.natural
            first = int(energies.argmin())
            if energies[first] < best[0]:
                best = energies[first], (source[first], signs[first])
            mean = (mean * tried + energies.sum()) / (tried + len(energies))
            tried += len(energies)
            found = form.reference and tried > 1000 and best[0] < STANDS_OUT * mean
            budget.say(f'{tried} keys')
            if found or budget.over:
                break
        source, signs = best[1]
        key = BlockTransform(source, np.where(signs < 0, 255, 0))
        return AttackResult(
            sentence=_say(tried, total, budget.spent - start, found),
            key=key,
            images=len(target.encrypted) + len(target.plain),
        )

    def _search_positions(self, target: Target, budget: Budget) -> AttackResult:
        """Look for the seed whose positions are those with values above 255."""
        n = target.form.samples
        observed = target.form.blocks(target.encrypted)
        keyed = (observed > 255).any(0)
        table = reference_table(TABLE_PASSWORD)
        if not np.isin(observed[:, keyed], table).all():
            table = None  # another password: the positions alone
        best, tried, start = (n + 1, keyed), 0, budget.spent
        for seed in itertools.count():
            guess = reference_permutation(n, seed) > n / 2
            wrong = int((guess != keyed).sum())
            best = min(best, (wrong, guess), key=lambda pair: pair[0])
            tried += 1
            if wrong == 0 or tried == 2**32 or (tried % 1000 == 0 and budget.over):
                break
            budget.say(f'{tried} seeds')
        said = _say(tried, 2.0**32, budget.spent - start, best[0] == 0)
        if table is None:
            return AttackResult(sentence=f'{said} The table is not that of the published password.')
        return AttackResult(sentence=said, key=BlockTransform(keyed=best[1], table=table), images=len(target.encrypted))

    def _refuse(self, target: Target) -> AttackResult:
        return AttackResult(
            sentence=f'Not tried: 2^{target.form.bits:.0f} keys, tables among them. Look at the other attacks.'
        )


def _say(tried: int, total: float, seconds: float, found: bool) -> str:
    speed = tried / max(seconds, 1e-9)
    if tried >= total:
        return f'All {tried} keys tried, {speed:.0f} a second; the most natural one is taken.'
    years = total / speed / YEAR
    whole = f'{years:.0e} years' if years >= 1000 else f'{years * YEAR / 3600:.0f} hours'
    whole = whole if np.isfinite(years) else 'longer than anything'
    said = f'{tried} of {_power(total)} keys tried, {speed:.0f} a second on one core; all would take {whole}.'
    return f'{said} One stands out.' if found else f'{said} The most natural one is taken.'


def _power(total: float) -> str:
    if not np.isfinite(total):
        return 'more than 2^800'
    return f'{total:.0f}' if total < 2**20 else f'2^{np.log2(total):.0f}'
