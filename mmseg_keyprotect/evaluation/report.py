"""The access report: the accuracy of every user, two summary figures (price and leak), and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from prettytable import PrettyTable, TableStyle

from mmseg_keyprotect.evaluation.draws import Draws, decimals
from mmseg_keyprotect.evaluation.rows import AccessRow, Group
from mmseg_keyprotect.session.scores import Scores

MAX_LEAK = 0.1
"""The largest leak with which a protection counts as denying access."""

COLUMNS = ('user', 'draws', 'mIoU', 'spread', 'worst', 'aAcc', 'mAcc')
"""The columns of the table."""


@dataclass
class AccessReport:
    """The accuracy of every user of a protected model.

    Args:
        rows: One row for each user; empty if the images have no labels.
        floor: The scores of the majority-class baseline; None if the images have no labels.
        classes: The names of the classes.
        images: The number of test images.
        key_id: The public id of the correct key.
        cipher: The public description of the ciphers.
        key_space_bits: log2 of the number of keys.
        about: More facts to show: model, data, date, command.
        seed: The seed of the wrong and of the partly right keys; None if it is unknown.

    Example:
        >>> def row(who, kind, miou):
        ...     return AccessRow(who, kind, Scores(mIoU=miou, aAcc=90.0, mAcc=60.0))
        >>> rows = [row('correct key', 'correct', 53.0), row('no key', 'none', 4.0)]
        >>> report = AccessReport(rows, Scores(3.0, 30.0, 10.0), ['sky', 'road'], 5, '0' * 16, 'shuffle/M=4', 202.9)
        >>> round(report.leak, 2)
        0.02
    """

    rows: list[AccessRow]
    floor: Scores | None
    classes: list[str]
    images: int
    key_id: str
    cipher: str
    key_space_bits: float
    about: dict[str, str] = field(default_factory=dict)
    seed: int | None = None

    def of(self, kind: str) -> list[AccessRow]:
        """Return the rows of one kind."""
        return [row for row in self.rows if row.kind == kind]

    @property
    def correct(self) -> Scores:
        """The scores with the correct key."""
        return self.of('correct')[0].scores

    @property
    def floor_miou(self) -> float:
        """The mIoU of the majority-class baseline; only a report with rows has one."""
        assert self.floor is not None, 'only a report without rows has no floor'
        return self.floor.mIoU

    @property
    def unauthorised(self) -> list[AccessRow]:
        """The rows of all users without any part of the key: no key, and the wrong keys."""
        return self.of('none') + self.of('wrong')

    @property
    def best_unauthorised(self) -> AccessRow:
        """The unauthorised row with the highest mIoU."""
        return max(self.unauthorised, key=lambda row: row.scores.mIoU)

    @property
    def shown_best(self) -> str:
        """The mIoU of the best unauthorised user as text."""
        return self._of_wrong(self.best_unauthorised.scores.mIoU)

    @property
    def worst_case(self) -> AccessRow | None:
        """The row of the wrong key with the highest mIoU; None if no wrong key was tried."""
        return max(self.of('wrong'), key=lambda row: row.scores.mIoU, default=None)

    @property
    def wrong(self) -> Group | None:
        """The wrong keys; None if no wrong key was tried."""
        rows = self.of('wrong')
        return Group('wrong keys', 0, rows) if rows else None

    @property
    def partly(self) -> list[Group]:
        """The partly right keys, one group for each known share, in ascending order."""
        shares = sorted({row.known for row in self.rows if row.known is not None})
        return [
            Group(f'{known}% of the key', known, [row for row in self.rows if row.known == known]) for known in shares
        ]

    @property
    def groups(self) -> list[Group]:
        """All groups of random keys."""
        return [self.wrong, *self.partly] if self.wrong else self.partly

    @property
    def price(self) -> float | None:
        """The mIoU of the unprotected model minus that of the correct key, in points; None without a baseline."""
        baseline = self.of('baseline')
        return round(baseline[0].scores.mIoU - self.correct.mIoU, 2) if baseline else None

    @property
    def leak(self) -> float:
        """(best unauthorised - floor) / (correct key - floor) in mIoU: 0 is full denial, 1 no protection.

        It is NaN if the model with the correct key is no better than the floor.
        """
        gain = self.correct.mIoU - self.floor_miou
        return (self.best_unauthorised.scores.mIoU - self.floor_miou) / gain if gain > 0 else math.nan

    @property
    def leaks(self) -> Draws | None:
        """The leak of each wrong key on its own; None without wrong keys or where the leak is NaN."""
        if self.wrong is None or math.isnan(self.leak):
            return None
        gain = self.correct.mIoU - self.floor_miou
        return Draws([(row.scores.mIoU - self.floor_miou) / gain for row in self.wrong.rows])

    @property
    def shown_leak(self) -> str:
        """The leak as text without digits beyond its spread, but on the same side of ``MAX_LEAK``."""
        digits = max(1, decimals(self.leaks.spread)) if self.leaks else 2
        text = f'{self.leak:.{digits}f}'
        same_side = float(text) != MAX_LEAK and (float(text) > MAX_LEAK) == (self.leak > MAX_LEAK)
        return text if same_side else f'{self.leak:.2f}'

    @property
    def verdict(self) -> str:
        """The result in words."""
        if not self.rows:
            return f'No verdict: the {self.images} images have no labels, so the report shows pictures only.'
        correct, best, floor = self.correct.mIoU, self.best_unauthorised, self.floor_miou
        if not correct > floor:
            return f'The model has learned nothing: {correct:.1f} mIoU with the correct key, the floor is {floor:.1f}.'
        figures = (
            f'{correct:.1f} mIoU with the correct key, at best {self.shown_best} without it '
            f'({best.who}), floor {floor:.1f}. The key is worth {self._of_wrong(correct - best.scores.mIoU)} points, '
            f'and the leak is {self.shown_leak}'
        )
        price = ''
        if self.price is not None:
            costs, against = ('costs', 'against') if self.price >= 0 else ('gains', 'over')
            price = f' It {costs} {abs(self.price):.1f} points {against} the unprotected model.'
        if self.leak <= MAX_LEAK:
            return f'{self.cipher} denies access: {figures}.{self._chance}{price}'
        return (
            f'{self.cipher} FAILS to deny access fully: {figures}, above the limit of {MAX_LEAK}.{self._chance}{price}'
        )

    @property
    def _chance(self) -> str:
        """How likely another wrong key does better."""
        if self.wrong is None:
            return ' No wrong key was tried.'
        tried, chance = len(self.wrong.rows), self.wrong.miou.chance_of_worse
        return (
            f' Wrong keys tried: {tried}. Another one does better than all of them with a chance of at most '
            f'{chance.numerator} in {chance.denominator}.'
        )

    def _of_wrong(self, value: float) -> str:
        """Return an mIoU that depends on the drawn wrong keys, without digits beyond their spread."""
        return self.wrong.miou.shown(value) if self.wrong else f'{value:.1f}'

    def lines(self) -> list[tuple[str, ...]]:
        """Return the lines of the table, by ``COLUMNS``: figures of random keys have no digits beyond their spread."""
        single = [(row.who, row.scores) for kind in ('baseline', 'correct', 'none') for row in self.of(kind)]
        floor = [('floor: majority-class baseline', self.floor)] if self.floor else []
        return [*map(_line, single), *map(_group_line, self.groups), *map(_line, floor)]

    def table(self, style: TableStyle = TableStyle.DEFAULT) -> str:
        """Return the table as text.

        Args:
            style: ``TableStyle.MARKDOWN`` for documents.
        """
        table = PrettyTable(COLUMNS, align='r')
        table.align['user'] = 'l'
        table.set_style(style)
        table.add_rows(self.lines())
        return table.get_string()


def _line(user: tuple[str, Scores]) -> tuple[str, ...]:
    who, scores = user
    return (who, '', f'{scores.mIoU:.2f}', '', '', f'{scores.aAcc:.2f}', f'{scores.mAcc:.2f}')


def _group_line(group: Group) -> tuple[str, ...]:
    miou, others = group.miou, [group.draws(metric) for metric in ('aAcc', 'mAcc')]
    figures = [miou.shown(value) for value in (miou.mean, miou.spread, miou.worst)]
    return (group.who, str(len(group.rows)), *figures, *(one.shown(one.mean) for one in others))
