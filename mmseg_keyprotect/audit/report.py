"""What the attacks found, as a table, a verdict in words, JSON and Markdown."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from prettytable import PrettyTable, TableStyle

from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.evaluation.html_report import render
from mmseg_keyprotect.evaluation.report import MAX_LEAK
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.version import SPEC_VERSION, __version__

FALLS = 0.5
"""An attacker who gets more of the way from no key (or the floor) to the correct key has broken the protection."""


OWN_MODEL = 'from-scratch'
"""The attack that steals nothing: what all others are to be compared with."""


@dataclass
class AuditReport:
    """All findings about one protected model.

    Args:
        findings: One for each attack.
        reference: mIoU of ``correct key``, ``no key`` and ``floor`` on the same held-out images.
        cipher: Its public description.
        key_id: Of the correct key.
        key_space_bits: log2 of the number of keys.
        minutes: That an attack may take.
        about: More to show: model, data, date, command.
    """

    findings: list[Finding]
    reference: dict[str, float]
    cipher: str
    key_id: str
    key_space_bits: float
    minutes: float
    about: dict[str, str] = field(default_factory=dict)

    columns = ('attack', 'what he needs', 'positions recovered', 'mIoU', 'cost', 'verdict')

    def gain(self, finding: Finding) -> float | None:
        """Return how far an attacker gets, from 0, what no key and the floor give, to 1, the correct key."""
        start = max(self.reference['no key'], self.reference['floor'])
        way = self.reference['correct key'] - start
        return None if finding.mIoU is None or way <= 0 else (finding.mIoU - start) / way

    @property
    def own_model(self) -> float | None:
        """What the attacker gets by training a model of his own; None where that was not tried."""
        return next((finding.mIoU for finding in self.findings if finding.attack == OWN_MODEL), None)

    def falls(self, finding: Finding) -> bool:
        """Whether the protection falls to an attack."""
        if finding.attack == OWN_MODEL:
            return False
        gain = self.gain(finding)
        return finding.whole_key or (gain is not None and gain > FALLS)

    @property
    def fallen(self) -> list[Finding]:
        """The findings of attacks that the protection falls to."""
        return [finding for finding in self.findings if self.falls(finding)]

    def verdict_on(self, finding: Finding) -> str:
        """Say in words what an attack did."""
        if finding.attack == OWN_MODEL and finding.mIoU is not None:
            return 'for comparison: nothing is stolen'
        beside = ''
        if 'labels' in finding.needs and None not in (finding.mIoU, self.own_model):
            beside = f'; {finding.mIoU - self.own_model:+.1f} mIoU against a model of his own'
        return self._done_by(finding) + beside

    def _done_by(self, finding: Finding) -> str:
        gain = self.gain(finding)
        if finding.whole_key:
            return 'FALLS: the whole key'
        if gain is not None and gain > FALLS:
            return f'FALLS: {100 * gain:.0f}% of what the key is worth'
        if gain is not None and gain > MAX_LEAK:
            return f'leaks: {100 * gain:.0f}% of what the key is worth'
        above = [share.part for share in finding.shares if share.above_chance]
        if above:
            return f'leaks: {" and ".join(above)} above chance'
        return 'held' if finding.shares or finding.mIoU is not None else 'not tried'

    @property
    def verdict(self) -> str:
        """Say in words what the protection withstands."""
        correct, no_key, floor = (self.reference[who] for who in ('correct key', 'no key', 'floor'))
        figures = f'correct key {correct:.1f} mIoU, no key {no_key:.1f}, floor {floor:.1f}'
        if correct <= max(no_key, floor):
            said = f'There is nothing to steal that no key would not give: {figures}.'
        else:
            said = f'{self.cipher}, {figures}.'
        fallen = self.fallen
        tried = [
            finding
            for finding in self.findings
            if finding.attack != OWN_MODEL and self.verdict_on(finding) != 'not tried'
        ]
        names = [f'{finding.attack} (needs {", ".join(finding.needs)}; {finding.cost})' for finding in fallen]
        said += (
            f' It FALLS to {len(fallen)} of {len(tried)} attacks: {"; ".join(names)}.'
            if fallen
            else (f' It held against {len(tried)} attacks.')
        )
        held = [finding.attack for finding in tried if finding not in fallen]
        if fallen and held:
            said += f' It held, or leaked a part, against {", ".join(held)}.'
        return (
            f'{said} An attack of {self.minutes:g} minutes that fails proves nothing; one that works proves a weakness.'
        )

    def rows(self) -> list[tuple[str, ...]]:
        """Return the lines of the table, by ``columns``: the attacks, then what to compare them with."""
        lines = [
            (
                finding.attack,
                ', '.join(finding.needs),
                '; '.join(map(str, finding.shares)) or '-',
                '-' if finding.mIoU is None else f'{finding.mIoU:.2f}',
                finding.cost,
                self.verdict_on(finding),
            )
            for finding in self.findings
        ]
        return lines + [(who, '', '', f'{value:.2f}', '', '') for who, value in self.reference.items()]

    def table(self, style: TableStyle = TableStyle.DEFAULT) -> str:
        """Return the table as text; ``TableStyle.MARKDOWN`` for documents."""
        table = PrettyTable(self.columns, align='l')
        table.set_style(style)
        table.add_rows(self.rows())
        return table.get_string()

    def facts(self) -> dict[str, str]:
        """Return what was attacked, in words."""
        return {
            **self.about,
            'cipher': f'{self.cipher}, {self.key_space_bits:g} key bits',
            'key id': self.key_id,
            'time for each attack': f'{self.minutes:g} minutes at most, on one machine',
            'specification': f'version {SPEC_VERSION}, mmseg-keyprotect {__version__}',
        }

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain JSON types."""
        found = [
            {**asdict(finding), 'whole_key': finding.whole_key, 'verdict': self.verdict_on(finding)}
            for finding in self.findings
        ]
        return dict(verdict=self.verdict, reference=self.reference, findings=found, facts=self.facts())

    def write(self, folder: Path) -> None:
        """Write ``audit.md``, ``audit.html`` and ``audit.json``."""
        sentences = ''.join(f'- {finding.attack}: {finding.sentence}\n' for finding in self.findings)
        facts = ''.join(f'- {name}: {value}\n' for name, value in self.facts().items())
        text = f'{self.verdict}\n\n{self.table(TableStyle.MARKDOWN)}\n\n{sentences}\n{facts}'
        replace_file(folder / 'audit.md', text)
        replace_file(folder / 'audit.html', render('mmseg_keyprotect.audit', 'audit.html.jinja', report=self))
        replace_file(folder / 'audit.json', json.dumps(self.to_dict(), indent=1) + '\n')
