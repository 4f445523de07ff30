"""Access reports made by hand."""

from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.evaluation.rows import AccessRow
from mmseg_keyprotect.session.scores import Scores


def row(who, kind, miou, known=None):
    return AccessRow(who, kind, Scores(miou, 30.0, 20.0, [miou, None]), known)


def report_of(correct, no_key, *wrong, floor=3.0, baseline=None, partly=()):
    rows = [row('unprotected', 'baseline', baseline)] if baseline else []
    rows += [row('correct key', 'correct', correct), row('no key', 'none', no_key)]
    rows += [row(f'wrong key {n}', 'wrong', value) for n, value in enumerate(wrong, 1)]
    rows += [row(f'{known}% of the key, draw {n}', 'partly', value, known) for n, (known, value) in enumerate(partly)]
    floor = Scores(floor, 30.0, 10.0, [floor, 0.0])
    return AccessReport(rows, floor, ['sky', '<b>'], 5, '0' * 16, 'shuffle/M=4', 202.9, seed=7)
