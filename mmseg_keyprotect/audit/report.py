"""The audit report: a table of findings and a verdict, as text, Markdown, HTML and JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from prettytable import PrettyTable, TableStyle

from mmseg_keyprotect.audit.chart import draw_budget, height_of
from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.evaluation.rendering import render
from mmseg_keyprotect.evaluation.report import MAX_LEAK
from mmseg_keyprotect.evaluation.svg import to_svg
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys.identity import Identity
from mmseg_keyprotect.version import SPEC_VERSION, __version__

FALLS = 0.5
"""The protection falls if an attacker gains more than this share of the way from no key to the correct key."""

OWN_MODEL = 'from-scratch'
"""The attack that steals nothing; the others are compared with it."""

NOT_APPLICABLE = 'not applicable'
"""The verdict on an attack that has nothing to do on the model."""

COLUMNS = (
    'Everybody knows the cipher, the block size and this program. Positions recovered: the share of the key that the '
    'attacker has right, and in brackets what a random key has right on average. mIoU is the mean over the classes of '
    'the intersection over union, in percent: what their key or their model reaches on images that they never saw. '
    'Agreement: the share of the pixels of these images where their masks are those of the correct key. What the key '
    'is worth to an attacker is the way to the correct key from the best that they have without stealing: no key, the '
    'floor or, with labels, a model of their own, which from-scratch trains on the same images in as many steps. The '
    'protection FALLS if the attacker has the whole key, or gains more than half of that way. It leaks if they gain '
    'more than a tenth of it, or positions far above chance, or if their reconstructions are more like the plain '
    'images (SSIM, 1 for equal pictures) than encrypted images are, and than reconstructions of other images. It held '
    'if none is so and the attack came to its end; an attack that was stopped shows nothing. The floor is the '
    'majority-class baseline, which predicts the most frequent class everywhere. Where the model has a private side '
    'and no key, the whole model takes the place of the correct key. Whoever gets answers for plain images can train a '
    'copy on them, whatever protects the model: such attacks say what the copy is worth, and do not count against the '
    'protection.'
)
"""What the columns and rows of the table mean."""

CHART_NOTE = (
    'The mIoU on held-out images by the time that each attack took. Orange: the protection falls. A star: the time '
    "limit stopped the attack. Dotted blue: a model of the attacker's own. Attacks that need images or queries as well "
    'have that under cost below.'
)
"""What the marks of the chart mean."""


@dataclass
class AuditReport:
    """All findings about one protected model.

    Args:
        findings: One finding for each attack.
        reference: The mIoU of the rightful user on the same held-out images, in percent, then that of what anybody has;
            see :meth:`~mmseg_keyprotect.audit.held_out.HeldOut.reference`.
        identity: The public identity of the key and the ciphers; None for a model with a private side.
        key_space_bits: log2 of the number of keys.
        minutes: The time limit of each attack.
        about: More facts to show: model, data, date, command.

    Example:
        >>> found = Finding('un-key', ('weights', 'plain images', 'labels'), [], 41.0, 60.0, 16, 0, '200 steps.')
        >>> reference = {'correct key': 53.0, 'no key': 4.0, 'floor': 3.0}
        >>> report = AuditReport([found], reference, Identity('0' * 16, 'shuffle/M=4'), 202.9, minutes=5)
        >>> report.verdict_on(found)
        'FALLS: 76% of what the key is worth'
    """

    findings: list[Finding]
    reference: dict[str, float]
    identity: Identity | None
    key_space_bits: float
    minutes: float
    about: dict[str, str] = field(default_factory=dict)

    columns = ('attack', 'attacker needs', 'positions recovered', 'mIoU', 'agreement', 'cost', 'verdict')

    def gain(self, finding: Finding) -> float | None:
        """Return the gain of an attacker, in shares of what the key is worth to them; None if unknown.

        1 is the correct key. 0 is what the attacker has without stealing anything: the best of no key, the floor, and,
        with labels, a model of their own.
        """
        rightful, *anybody = self.reference.values()
        start = max(*anybody, self._own_model_of(finding) or 0.0)
        distance = rightful - start
        return None if finding.mIoU is None or distance <= 0 else (finding.mIoU - start) / distance

    @property
    def own_model(self) -> float | None:
        """The mIoU of a model that the attacker trains without stealing anything; None if that was not measured."""
        return next((finding.mIoU for finding in self.findings if finding.attack == OWN_MODEL), None)

    def falls(self, finding: Finding) -> bool:
        """Return whether the protection falls to an attack."""
        if finding.attack == OWN_MODEL or finding.is_copy:
            return False
        gain = self.gain(finding)
        return finding.whole_key or (gain is not None and gain > FALLS)

    @property
    def fallen(self) -> list[Finding]:
        """The findings of the attacks to which the protection falls."""
        return [finding for finding in self.findings if self.falls(finding)]

    def verdict_on(self, finding: Finding) -> str:
        """Return the verdict on one attack in words."""
        if not finding.applicable:
            return NOT_APPLICABLE
        if finding.attack == OWN_MODEL and finding.mIoU is not None:
            return 'for comparison: nothing is stolen'
        if finding.is_copy:
            return self._copy(finding)
        beside, own = '', self._own_model_of(finding)
        if finding.mIoU is not None and own:
            beside = f'; {finding.mIoU / own:.2f} times an own model'
        return self._effect_of(finding) + beside

    def _copy(self, finding: Finding) -> str:
        gain, own = self.gain(finding), self.own_model
        words = [] if gain is None else [f'a copy worth {100 * gain:.0f}% of {self._worth}']
        words += [f'{finding.mIoU / own:.2f} times an own model'] if finding.mIoU is not None and own else []
        words += [f'stopped after {finding.stopped}'] if finding.stopped else []
        return '; '.join([*words, 'no key prevents it'])

    def _own_model_of(self, finding: Finding) -> float | None:
        """Return the mIoU of an own model if the attacker of a finding could train one; else None."""
        return self.own_model if 'labels' in finding.needs else None

    def _effect_of(self, finding: Finding) -> str:
        gain = self.gain(finding)
        if finding.whole_key:
            return 'FALLS: the whole key'
        if gain is not None and gain > FALLS:
            return f'FALLS: {100 * gain:.0f}% of {self._worth}'
        stopped = f'stopped after {finding.stopped}' if finding.stopped else ''
        above = [share.part for share in finding.shares if share.above_chance]
        leak = f'{" and ".join(above)} above chance' if above else ''
        if finding.shows_pictures:
            leak = f'{leak} and pictures' if leak else 'pictures'
        if gain is not None and gain > MAX_LEAK:
            leak = f'{100 * gain:.0f}% of {self._worth}'
        if leak:
            return f'leaks: {leak}; {stopped}' if stopped else f'leaks: {leak}'
        held = (
            'held' if finding.shares or finding.pictures or finding.mIoU is not None else 'held: no estimate of the key'
        )
        return stopped or held

    @property
    def kind(self) -> str:
        """What protects the model, in words."""
        return self.identity.cipher if self.identity else 'Private side on another machine'

    @property
    def _worth(self) -> str:
        return f'what the {"key" if self.identity else "model"} is worth'

    @property
    def verdict(self) -> str:
        """The result of the audit in words."""
        (rightful, most), *anybody = self.reference.items()
        figures = ', '.join([f'{rightful} {most:.1f} mIoU', *(f'{who} {value:.1f}' for who, value in anybody)])
        if most <= max(value for _, value in anybody):
            verdict = f'The {rightful} is worth nothing here: {figures}.'
        else:
            verdict = f'{self.kind}, {figures}.'
        fallen = self.fallen
        measured = [finding for finding in self.findings if finding.attack != OWN_MODEL and finding.applicable]
        tried = [finding for finding in measured if not finding.is_copy]
        names = [f'{finding.attack} (needs {", ".join(finding.needs)}; {finding.cost})' for finding in fallen]
        if tried:
            listed = f': {"; ".join(names)}' if names else ''
            verdict += f' It FALLS to {len(fallen)} of {len(tried)} attacks{listed}.'
        rest = [finding for finding in tried if finding not in fallen]
        if held := [finding.attack for finding in rest if not finding.stopped]:
            verdict += f' It held, or leaked only a part, against {", ".join(held)}.'
        if cut := [f'{finding.attack} ({finding.stopped})' for finding in rest if finding.stopped]:
            verdict += f' The time limit stopped {", ".join(cut)}.'
        if copies := [one for one in measured if one.is_copy]:
            listed = ', '.join(f'{one.attack} ({one.mIoU or 0:.1f} mIoU; {one.cost})' for one in copies)
            verdict += f' Whoever gets its answers can train a copy, which no key prevents: {listed}.'
        return f'{verdict} An attack that fails within {self._limit} proves nothing; one that works proves a weakness.'

    @property
    def _limit(self) -> str:
        return f'{self.minutes:g} minute{"" if self.minutes == 1 else "s"}'

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of the table, by ``columns``: the attacks, then the reference accuracies."""
        lines: list[tuple[str, ...]] = [
            (
                finding.attack,
                ', '.join(finding.needs),
                '; '.join(map(str, [*finding.shares, *finding.pictures])) or '-',
                '-' if finding.mIoU is None else f'{finding.mIoU:.2f}',
                '-' if finding.agreement is None else f'{finding.agreement:.1f}%',
                finding.cost,
                self.verdict_on(finding),
            )
            for finding in self.findings
        ]
        return lines + [(who, '', '', f'{value:.2f}', '', '', '') for who, value in self.reference.items()]

    def table(self, style: TableStyle = TableStyle.DEFAULT) -> str:
        """Return the table as text.

        Args:
            style: ``TableStyle.MARKDOWN`` for documents.
        """
        table = PrettyTable(self.columns, align='l')
        table.set_style(style)
        table.add_rows(self.rows())
        return table.get_string()

    def facts(self) -> dict[str, str]:
        """Return what was attacked, as labels and texts."""
        return {
            **self.about,
            **self._key_facts(),
            'time for each attack': f'at most {self._limit}, on one machine',
            'specification': f'version {SPEC_VERSION}, mmseg-keyprotect {__version__}',
        }

    def _key_facts(self) -> dict[str, str]:
        if self.identity is None:
            return {'cipher': 'none'}
        bits = f'{self.key_space_bits:g} key bits against guessing'
        return {'cipher': f'{self.identity.cipher}, {bits}', 'key id': self.identity.key_id}

    def to_dict(self) -> dict[str, Any]:
        """Return the whole report as plain JSON types."""
        found = [
            {**asdict(finding), 'whole_key': finding.whole_key, 'verdict': self.verdict_on(finding)}
            for finding in self.findings
        ]
        return dict(verdict=self.verdict, reference=self.reference, findings=found, facts=self.facts())

    def page(self) -> str:
        """Return the report as an HTML page, which needs no network, server or script."""
        chart = None
        if any(finding.mIoU is not None for finding in self.findings):
            svg, alternative = to_svg('budget', self.draw_chart, height_of(self.findings))
            chart = Markup(svg), alternative
        return render(
            'mmseg_keyprotect.audit',
            'audit.html.jinja',
            title=f'Audit: {self.about.get("model", self.kind)}',
            report=self,
            columns=COLUMNS,
            chart=chart,
            chart_note=CHART_NOTE,
        )

    def draw_chart(self, axes: Axes) -> str:
        """Draw the chart of the page; return a text alternative."""
        return draw_budget(axes, self.findings, self.fallen, self.reference, self.own_model)

    def write(self, folder: Path) -> None:
        """Write ``audit.md``, ``audit.html`` and ``audit.json``."""
        sentences = ''.join(f'- {finding.attack}: {finding.sentence}\n' for finding in self.findings)
        facts = ''.join(f'- {name}: {value}\n' for name, value in self.facts().items())
        text = f'{self.verdict}\n\n{self.table(TableStyle.MARKDOWN)}\n\n{COLUMNS}\n\n{sentences}\n{facts}'
        replace_file(folder / 'audit.md', text)
        replace_file(folder / 'audit.html', self.page())
        replace_file(folder / 'audit.json', json.dumps(self.to_dict(), indent=1) + '\n')
