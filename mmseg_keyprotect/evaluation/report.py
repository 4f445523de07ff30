"""The access report: a table of accuracies, two summary figures (price and leak), and a verdict."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, pstdev
from typing import Any

from prettytable import PrettyTable, TableStyle

from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.session.scores import Scores
from mmseg_keyprotect.version import SPEC_VERSION, __version__

MAX_LEAK = 0.1
"""The largest leak with which a protection counts as denying access."""

COLUMNS = (
    'mIoU, aAcc and mAcc are in percent. The spread is the standard deviation of mIoU over the wrong keys. A user with '
    'a part of the key knows that share of its positions and guesses the others. The floor is the majority-class '
    'baseline, which predicts the most frequent class everywhere.'
)
"""What the columns and rows of the table mean."""


@dataclass(frozen=True)
class AccessRow:
    """The accuracy of one user.

    Args:
        who: The name of the user, for example ``wrong key 3``.
        kind: ``'baseline'``, ``'correct'``, ``'none'``, ``'wrong'`` or ``'partly'``.
        scores: The accuracies in percent.
    """

    who: str
    kind: str
    scores: Scores


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
    def worst_case(self) -> AccessRow | None:
        """The row of the wrong key with the highest mIoU; None if no wrong key was tried."""
        return max(self.of('wrong'), key=lambda row: row.scores.mIoU, default=None)

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
    def verdict(self) -> str:
        """The result in words."""
        if not self.rows:
            return f'No verdict: the {self.images} images have no labels, so the report shows pictures only.'
        correct, best, floor = self.correct.mIoU, self.best_unauthorised, self.floor_miou
        if not correct > floor:
            return f'The model has learned nothing: {correct:.1f} mIoU with the correct key, the floor is {floor:.1f}.'
        figures = (
            f'{correct:.1f} mIoU with the correct key, at best {best.scores.mIoU:.1f} without it ({best.who}), floor '
            f'{floor:.1f}. The key is worth {correct - best.scores.mIoU:.1f} points, and the leak is {self.leak:.2f}'
        )
        price = '' if self.price is None else f' It costs {self.price:.1f} points against the unprotected model.'
        if self.leak <= MAX_LEAK:
            return f'{self.cipher} denies access: {figures}.{price}'
        return f'{self.cipher} FAILS to deny access fully: {figures}, above the limit of {MAX_LEAK}.{price}'

    def summary(self) -> list[tuple[str, Scores, float | None]]:
        """Return the lines of the table: user, scores, and the standard deviation of mIoU over the wrong keys."""
        lines: list[tuple[str, Scores, float | None]] = [
            (row.who, row.scores, None) for kind in ('baseline', 'correct', 'none') for row in self.of(kind)
        ]
        if (worst := self.worst_case) is not None:
            wrong = [row.scores for row in self.of('wrong')]
            means = {name: round(mean(getattr(row, name) for row in wrong), 2) for name in ('mIoU', 'aAcc', 'mAcc')}
            lines.append((f'wrong keys, mean of {len(wrong)}', Scores(**means), pstdev(row.mIoU for row in wrong)))
            lines.append(('wrong keys, best of them', worst.scores, None))
        lines += [(row.who, row.scores, None) for row in self.of('partly')]
        return [*lines, ('floor: majority-class baseline', self.floor, None)] if self.floor else lines

    def table(self, style: TableStyle = TableStyle.DEFAULT) -> str:
        """Return the table as text.

        Args:
            style: ``TableStyle.MARKDOWN`` for documents.
        """
        table = PrettyTable(['user', 'mIoU', 'spread', 'aAcc', 'mAcc'], align='r')
        table.align['user'] = 'l'
        table.set_style(style)
        for who, scores, spread in self.summary():
            numbers = [scores.mIoU, spread, scores.aAcc, scores.mAcc]
            table.add_row([who, *('' if number is None else f'{number:.2f}' for number in numbers)])
        return table.get_string()

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as plain JSON types."""
        rows = [dict(who=row.who, kind=row.kind, **asdict(row.scores)) for row in self.rows]
        return dict(
            verdict=self.verdict,
            price=self.price if self.rows else None,
            leak=round(self.leak, 4) if self.rows and not math.isnan(self.leak) else None,
            key_id=self.key_id,
            cipher=self.cipher,
            key_space_bits=self.key_space_bits,
            spec_version=SPEC_VERSION,
            version=__version__,
            about=self.about,
            images=self.images,
            classes=self.classes,
            floor=asdict(self.floor) if self.floor else None,
            rows=rows,
        )

    def write(self, folder: Path) -> None:
        """Write ``access.md``, then ``access.json``, whose presence marks the report as complete."""
        about = ''.join(f'- {name}: {value}\n' for name, value in self.facts().items())
        replace_file(
            folder / 'access.md', f'{self.verdict}\n\n{self.table(TableStyle.MARKDOWN)}\n\n{COLUMNS}\n\n{about}'
        )
        replace_file(folder / 'access.json', json.dumps(self.to_dict(), indent=1) + '\n')

    def facts(self) -> dict[str, str]:
        """Return what was evaluated, as labels and texts."""
        return {
            **self.about,
            'images': f'{self.images}',
            'cipher': f'{self.cipher}, {self.key_space_bits:g} key bits',
            'key id': self.key_id,
            'specification': f'version {SPEC_VERSION}, mmseg-keyprotect {__version__}',
        }
