"""The audit report: verdicts on attacks that came to their end and on others, the chart, the page in a browser."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.text import Text

from helpers.browser import PHONE, measure
from helpers.findings import audit_of, finding_of
from mmseg_keyprotect.audit.attack import Attack, AttackResult
from mmseg_keyprotect.audit.chart import GAP, height_of, spread_out
from mmseg_keyprotect.audit.run import carry_out
from mmseg_keyprotect.evaluation.svg import draw_figure


@pytest.fixture
def many():
    """A report with as many attacks as there are, some with the same figures, and long names."""
    names = ['un-key', 'un-key-unlabelled', 'fine-tuning', 'fine-tuning-stem', 'weights-alone', 'from-scratch']
    fast = [finding_of(f'{name}-images', 53.0, 0.004 * 10**n, right=1.0) for n, name in enumerate(('chosen', 'known'))]
    slow = [finding_of(name, 4.0 + 3 * (n // 2), 60.0, '4 of 200 steps') for n, name in enumerate(names)]
    last = [finding_of('un-key-doubly-stochastic', 3.0, 61.0, '4 of 200 steps'), finding_of('none', None)]
    return audit_of(*fast, *slow, *last, model='segformer_mit-b0_shfnp-b4_1xb8-0.4k_camvid-160x160.py, iter_20000.pth')


@pytest.mark.parametrize(
    ('found', 'verdict'),
    [
        (finding_of('un-key', 5.0), 'held'),
        (finding_of('un-key', 5.0, stopped='4 of 200 steps'), 'stopped after 4 of 200 steps'),
        (finding_of('un-key', None, stopped='60 s'), 'stopped after 60 s'),
        (
            finding_of('un-key', 20.0, stopped='4 of 200 steps'),
            'leaks: 33% of what the key is worth; stopped after 4 of 200 steps',
        ),
        (finding_of('un-key', 50.0, stopped='4 of 200 steps'), 'FALLS: 94% of what the key is worth'),
    ],
)
def test_an_attack_that_was_stopped_never_held(found, verdict):
    report = audit_of(found)
    assert report.verdict_on(found) == verdict
    assert ('held' in report.verdict) == (verdict == 'held')
    assert (f'The time limit stopped un-key ({found.stopped})' in report.verdict) == (
        bool(found.stopped) and not report.fallen
    )


def test_attacks_with_labels_are_compared_with_an_own_model():
    own = finding_of('from-scratch', 29.0, needs=('plain images', 'labels'))
    same, better, half = (finding_of('un-key', miou) for miou in (29.0, 34.0, 42.0))
    unlabelled = finding_of('un-key-unlabelled', 29.0, needs=('weights', 'plain images'))
    report = audit_of(own, same, better, half, unlabelled)
    assert report.verdict_on(same) == 'held; 1.00 times an own model'
    assert report.verdict_on(better) == 'leaks: 21% of what the key is worth; 1.17 times an own model'
    assert report.verdict_on(half) == 'FALLS: 54% of what the key is worth; 1.45 times an own model'
    assert report.verdict_on(unlabelled) == 'FALLS: 51% of what the key is worth'
    assert report.verdict_on(own) == 'for comparison: nothing is stolen'
    assert audit_of(same).verdict_on(same) == 'FALLS: 51% of what the key is worth'
    worth_more = finding_of('from-scratch', 54.0, needs=('plain images', 'labels'))
    assert audit_of(worth_more, half).verdict_on(half) == 'held; 0.78 times an own model'


class Clock(Attack):
    """An attack with a result that is made by hand."""

    name = 'clock'
    needs = ()
    seeks = None
    result = AttackResult('')

    def run(self, view, budget):
        """Return the result."""
        return self.result


class Nothing:
    """A target that has no key to score."""

    def require_key(self, kind):
        """Accept every attack."""

    def view(self, needs, uses):
        """Return nothing."""

    def shares(self, result):
        """Return no shares."""
        return []

    def pictures(self, result):
        """Return no pictures."""
        return []


@pytest.mark.parametrize(
    ('minutes', 'stopped', 'expected'),
    [(0.0, None, '0 s'), (1.0, None, ''), (0.0, '', ''), (1.0, '4 of 200 steps', '4 of 200 steps')],
)
def test_who_says_that_an_attack_was_stopped(minutes, stopped, expected, monkeypatch):
    """The attack, or the clock if it leaves it to that."""
    monkeypatch.setattr(Clock, 'result', AttackResult('', stopped=stopped))
    assert carry_out(Clock(), Nothing(), minutes).stopped == expected


def test_the_verdict_counts():
    report = audit_of(finding_of('a', 50.0), finding_of('b', 5.0), finding_of('c', 5.0, stopped='60 s'))
    assert 'It FALLS to 1 of 3 attacks: a (needs weights, plain images, labels; 60.0 s, 16 images).' in report.verdict
    assert 'It held, or leaked only a part, against b. The time limit stopped c (60 s).' in report.verdict
    assert 'within 1 minute proves nothing' in report.verdict
    assert 'It FALLS to 0 of 1 attacks. It held' in audit_of(finding_of('b', 5.0)).verdict


def test_labels_of_the_chart_lie_inside_and_apart(many):
    figure, alternative = draw_figure(many.draw_chart, height_of(many.findings))
    figure.draw_without_rendering()
    boxes = sorted((Text.get_window_extent(text) for text in figure.axes[0].texts), key=lambda box: box.y0)
    assert len(boxes) == 9 + 3
    assert max(box.x1 for box in boxes) <= figure.bbox.width
    assert min(box.x0 for box in boxes) > figure.axes[0].bbox.x1
    assert all(upper.y0 >= lower.y1 - 2 for lower, upper in pairwise(boxes))
    assert 'chosen-images: 53.0 in 0.0 s' in alternative
    assert 'no key 4.0' in alternative


def test_labels_are_spread_out():
    rng = np.random.default_rng(0)
    for count in (1, 5, 15):
        found = spread_out(sorted(rng.random(count) ** 3))
        assert min(found) >= 0
        assert max(found) <= 1
        assert min(np.diff(found), default=1) >= min(GAP, 1 / max(count - 1, 1)) - 1e-9
    assert np.diff(spread_out([0.5] * 40)).min() == pytest.approx(1 / 39)


@pytest.mark.parametrize('width', [PHONE, 1280])
def test_the_page_in_a_browser(many, tmp_path, width):
    many.write(tmp_path)
    lines, found = measure(tmp_path / 'audit.html', width, '--window-size=1300,900')
    assert lines == []
    assert (found['wide'], found['cut'], found['broken']) == ('false', '', '')
    assert float(found['smallest']) >= 9


def test_a_page_without_any_measured_attack(tmp_path):
    audit_of(finding_of('none', None)).write(tmp_path)
    assert '<svg' not in (tmp_path / 'audit.html').read_text()
