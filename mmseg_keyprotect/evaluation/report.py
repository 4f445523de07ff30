"""The access table, its two sums and its verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prettytable import PrettyTable, TableStyle

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.version import SPEC_VERSION, __version__

MAX_LEAK = 0.1
"""A protection that leaks more does not deny access."""


@dataclass
class AccessRow:
    """The accuracy that one user gets, in percent."""

    who: str
    mIoU: float  # noqa: N815  the field's own spelling
    aAcc: float  # noqa: N815
    mAcc: float  # noqa: N815


@dataclass
class AccessReport:
    """The accuracy of everybody.

    Args:
        rows: The correct key first, then no key, then the wrong keys.
        floor: The predictor that always says the most frequent class: what "useless" is measured against.
        images: How many images were evaluated.
        key_id: Of the correct key.
        cipher: Its public description.
        key_space_bits: log2 of the number of keys.
    """

    rows: list[AccessRow]
    floor: AccessRow
    images: int
    key_id: str
    cipher: str
    key_space_bits: float

    @property
    def correct(self) -> AccessRow:
        """What the correct key gets."""
        return self.rows[0]

    @property
    def best_unauthorised(self) -> AccessRow:
        """The best of all without the correct key."""
        return max(self.rows[1:], key=lambda row: row.mIoU)

    @property
    def leak(self) -> float:
        """(best unauthorised - floor) / (correct key - floor): 0 is full denial, 1 no protection at all.

        Not a number where the model itself is no better than the floor.
        """
        gain = self.correct.mIoU - self.floor.mIoU
        return (self.best_unauthorised.mIoU - self.floor.mIoU) / gain if gain > 0 else float('nan')

    @property
    def verdict(self) -> str:
        """The figures in one sentence."""
        correct, best, floor = self.correct.mIoU, self.best_unauthorised, self.floor.mIoU
        if not correct > floor:
            return f'The model has learned nothing: {correct:.1f} mIoU with the correct key, the floor is {floor:.1f}.'
        figures = (
            f'{correct:.1f} mIoU with the correct key, {best.mIoU:.1f} at best without it ({best.who}), floor '
            f'{floor:.1f}: the key is worth {correct - best.mIoU:.1f} points, and the leak is {self.leak:.2f}'
        )
        if self.leak <= MAX_LEAK:
            return f'{self.cipher} denies access: {figures}.'
        return f'{self.cipher} FAILS to deny access fully: {figures}, above {MAX_LEAK}.'

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        return dict(
            asdict(self), leak=round(self.leak, 4), verdict=self.verdict, spec_version=SPEC_VERSION, version=__version__
        )

    def table(self, style: TableStyle = TableStyle.DEFAULT) -> str:
        """Return the table as text; ``TableStyle.MARKDOWN`` for documents."""
        table = PrettyTable(['who', 'mIoU', 'aAcc', 'mAcc'], align='r', float_format='.2')
        table.align['who'] = 'l'
        table.set_style(style)
        wrong = self.rows[2:]
        shown = self.rows[:2]
        if wrong:
            means = {name: sum(getattr(row, name) for row in wrong) / len(wrong) for name in ('mIoU', 'aAcc', 'mAcc')}
            worst = max(wrong, key=lambda row: row.mIoU)
            shown += [
                AccessRow(f'wrong keys, mean of {len(wrong)}', **means),
                AccessRow('wrong keys, best of them', worst.mIoU, worst.aAcc, worst.mAcc),
            ]
        for row in [*shown, AccessRow('floor: most frequent class', self.floor.mIoU, self.floor.aAcc, self.floor.mAcc)]:
            table.add_row([row.who, row.mIoU, row.aAcc, row.mAcc])
        return table.get_string()

    def save(self, folder: str | Path, **about: Any) -> Path:
        """Write ``access.json`` and ``access.md``.

        Args:
            folder: Made if it is missing.
            **about: More for the JSON file: the configuration's name, the data, the command.

        Raises:
            ConfigError: The folder holds a report already; nothing is overwritten.
        """
        folder = Path(folder)
        check_no_report(folder)
        folder.mkdir(parents=True, exist_ok=True)
        report = json.dumps({**about, **self.to_dict()}, indent=2) + '\n'
        (folder / 'access.md').write_text(f'{self.verdict}\n\n{self.table(TableStyle.MARKDOWN)}\n')
        (folder / 'access.json').write_text(report)
        return folder / 'access.json'


def check_no_report(folder: str | Path) -> None:
    """Raise ConfigError if the folder holds an access report already."""
    if (Path(folder) / 'access.json').exists():
        raise ConfigError(f'Expected a folder without a report, but {folder} has one. Name another with -o.')
