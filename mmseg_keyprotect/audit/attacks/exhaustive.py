"""Exhaustive key search: complete where it is feasible, else partial with an estimate of the whole cost."""

from __future__ import annotations

import itertools

import numpy as np

from mmseg_keyprotect.audit.attack import Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.key_spaces import count_keys, key_batches
from mmseg_keyprotect.audit.estimators.natural_score import NaturalScore
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.reference import reference_permutation, reference_table
from mmseg_keyprotect.ciphers.transform import BlockTransform

STANDS_OUT = 0.01
"""A seed is the right one if its energy above that of plain images is below this share of that of wrong keys."""

TABLE_PASSWORD = 'password'
"""The password in the published code, which an attacker tries first."""

YEAR = 365.25 * 24 * 3600
"""A year in seconds."""


class Exhaustive(Attack):
    """Try keys until one makes the encrypted images look natural, and measure keys per second.

    With a table, only the seeds of the reference implementation are tried: the positions whose values exceed 255 tell
    which seed is right.
    """

    name = 'exhaustive'
    needs = ('encrypted images', 'plain images')

    def run(self, view: View, budget: Budget) -> AttackResult:
        """Search until the key is found or the time is up."""
        info = view.cipher_info
        if not info.has_table:
            return self._search(view, budget)
        if not info.reference:
            raise NotApplicable(f'the 2^{info.bits:.0f} keys include the table, too many to search')
        return self._search_positions(view, budget)

    def _search(self, view: View, budget: Budget) -> AttackResult:
        info, total = view.cipher_info, count_keys(view.cipher_info)
        score = NaturalScore(view.encrypted, view.plain, info)
        least, tried, mean, found, start = np.inf, 0, 0.0, False, budget.spent
        best: BlockTransform | None = None
        for source, signs in key_batches(info, np.random.default_rng()):
            energies = score.energies(source, signs) - score.natural
            first = int(energies.argmin())
            if energies[first] < least:
                least = float(energies[first])
                best = BlockTransform(source[first], np.where(signs[first] < 0, 255, 0))
            mean = (mean * tried + energies.sum()) / (tried + len(energies))
            tried += len(energies)
            found = info.reference and tried > 1000 and least < STANDS_OUT * mean
            budget.report(f'{tried} keys')
            if found or budget.over:
                break
        return AttackResult(
            sentence=_summary(tried, total, budget.spent - start, found),
            key=best,
            images=len(view.encrypted) + len(view.plain),
            stopped='' if found or tried >= total else f'{tried} of {_power(total)} keys',
        )

    def _search_positions(self, view: View, budget: Budget) -> AttackResult:
        """Search for the seed whose positions are those with values above 255."""
        n = view.cipher_info.samples
        observed = view.cipher_info.blocks(view.encrypted)
        keyed = np.asarray((observed > 255).any(0))
        published = reference_table(TABLE_PASSWORD)
        # with the table of another password, only the positions can be found
        table = published if np.isin(observed[:, keyed], published).all() else None
        best, tried, start = (n + 1, keyed), 0, budget.spent
        for seed in itertools.count():
            guess = reference_permutation(n, seed) > n / 2
            wrong = int((guess != keyed).sum())
            best = min(best, (wrong, guess), key=lambda pair: pair[0])
            tried += 1
            if wrong == 0 or tried == 2**32 or (tried % 1000 == 0 and budget.over):
                break
            budget.report(f'{tried} seeds')
        summary = _summary(tried, 2.0**32, budget.spent - start, best[0] == 0)
        stopped = '' if best[0] == 0 or tried == 2**32 else f'{tried} of 2^32 seeds'
        if table is None:
            return AttackResult(f'{summary} The table is not that of the published password.', stopped=stopped)
        key = BlockTransform(keyed=best[1], table=table)
        return AttackResult(sentence=summary, key=key, images=len(view.encrypted), stopped=stopped)


def _summary(tried: int, total: float, seconds: float, found: bool) -> str:
    speed = tried / max(seconds, 1e-9)
    if tried >= total:
        return f'All {tried} keys tried, {speed:.0f} per second; the estimate is the most natural one.'
    years = total / speed / YEAR
    whole = f'{years:.0e} years' if years >= 1000 else f'{years * YEAR / 3600:.0f} hours'
    whole = whole if np.isfinite(years) else 'more years than a float can hold'
    summary = f'{tried} of {_power(total)} keys tried, {speed:.0f} per second on one core; all would take {whole}.'
    return f'{summary} One stands out.' if found else f'{summary} The estimate is the most natural one.'


def _power(total: float) -> str:
    if not np.isfinite(total):
        return 'more than 2^800'
    return f'{total:.0f}' if total < 2**20 else f'2^{np.log2(total):.0f}'
