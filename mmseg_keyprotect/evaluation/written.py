"""Write the access report as JSON and Markdown, and explain its table in words."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prettytable import TableStyle

from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.version import SPEC_VERSION, __version__

METRICS = (
    'mIoU is the mean over the classes of the intersection over union, the usual measure of segmentation. aAcc is the '
    'share of right pixels, and mAcc its mean over the classes. All are in percent, measured once for the whole data '
    'set.'
)
"""What the accuracies mean."""

USERS = (
    'A user with a part of the key knows that share of its positions and guesses the others. The floor is the '
    'majority-class baseline, which predicts the most frequent class everywhere.'
)
"""What the rows of the table mean."""

RANDOM = (
    'Wrong and partly right keys are random, so that other draws give other figures. Their mIoU, aAcc and mAcc are '
    'means over the draws, the spread is the standard deviation of mIoU, and worst is the highest mIoU, the worst for '
    'the owner. These figures have no digits beyond their spread.'
)
"""What the figures of random keys mean."""


def explanation(report: AccessReport) -> str:
    """Return what the columns and rows of the table mean, and how far other draws may differ."""
    return f'{METRICS} {USERS} {RANDOM}{chances(report)}'


def chances(report: AccessReport) -> str:
    """Return how likely another key exceeds the worst, for each number of draws."""
    counts = sorted({len(group.rows): group.miou.chance_of_worse for group in report.groups}.items())
    if not counts:
        return ''
    each = ' and '.join(f'{chance.numerator} in {chance.denominator} after {count}' for count, chance in counts)
    return f' Another key exceeds the worst with a chance of at most {each} draw{"s" if counts[-1][0] > 1 else ""}.'


def facts(report: AccessReport) -> dict[str, str]:
    """Return what was evaluated, as labels and texts."""
    seed = (
        {}
        if report.seed is None
        else {'seed of the random keys': f'{report.seed}; --seed {report.seed} tries the same keys again'}
    )
    return {
        **report.about,
        'images': f'{report.images}',
        'cipher': f'{report.cipher}, {report.key_space_bits:g} key bits against guessing',
        'key id': report.key_id,
        **seed,
        'specification': f'version {SPEC_VERSION}, mmseg-keyprotect {__version__}',
    }


def to_dict(report: AccessReport) -> dict[str, Any]:
    """Return the whole report as plain JSON types."""
    rows = [dict(who=row.who, kind=row.kind, known=row.known, **asdict(row.scores)) for row in report.rows]
    return dict(
        verdict=report.verdict,
        price=report.price if report.rows else None,
        leak=round(report.leak, 4) if report.rows and not math.isnan(report.leak) else None,
        leak_of_wrong_keys=report.leaks.to_dict() if report.rows and report.leaks else None,
        random_keys=[dict(who=group.who, known=group.known, **group.miou.to_dict()) for group in report.groups],
        seed=report.seed,
        key_id=report.key_id,
        cipher=report.cipher,
        key_space_bits=report.key_space_bits,
        spec_version=SPEC_VERSION,
        version=__version__,
        about=report.about,
        images=report.images,
        classes=report.classes,
        floor=asdict(report.floor) if report.floor else None,
        rows=rows,
    )


def write(report: AccessReport, folder: Path) -> None:
    """Write ``access.md``, then ``access.json``, whose presence marks the report as complete."""
    about = ''.join(f'- {name}: {value}\n' for name, value in facts(report).items())
    table = f'{report.table(TableStyle.MARKDOWN)}\n\n{explanation(report)}\n\n' if report.rows else ''
    replace_file(folder / 'access.md', f'{report.verdict}\n\n{table}{about}')
    replace_file(folder / 'access.json', json.dumps(to_dict(report), indent=1) + '\n')
