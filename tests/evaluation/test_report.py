"""Scores, figures that sum up, verdicts, tables, files."""

import json
import math

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from helpers.reports import report_of
from mmseg_keyprotect.evaluation.draws import Draws
from mmseg_keyprotect.evaluation.figures import FIGURES, class_table, figures_of
from mmseg_keyprotect.evaluation.html_report import write_html
from mmseg_keyprotect.evaluation.pictures import Picture, legend
from mmseg_keyprotect.evaluation.svg import draw_figure, to_svg
from mmseg_keyprotect.evaluation.written import facts, to_dict, write
from mmseg_keyprotect.session.scores import Scores, count_pixels


def test_verdicts():
    denied = report_of(53.0, 4.0, 5.0, 3.5, baseline=54.5)
    assert denied.leak == pytest.approx(2 / 50)
    assert denied.price == 1.5
    assert denied.verdict.startswith('shuffle/M=4 denies access: 53.0 mIoU with the correct key, at best 5 without')
    assert 'Wrong keys tried: 2. Another one does better than all of them with a chance of at most 1 in 3.' in (
        denied.verdict
    )
    assert denied.verdict.endswith('It costs 1.5 points against the unprotected model.')
    assert report_of(53.0, 4.0, baseline=52.0).verdict.endswith('It gains 1.0 points over the unprotected model.')
    leaking = report_of(53.0, 20.0, 51.0)
    assert leaking.leak == pytest.approx(48 / 50)
    assert leaking.price is None
    assert 'FAILS to deny access fully' in leaking.verdict
    assert 'at best 51.0 without it (wrong key 1), floor 3.0. The key is worth 2.0 points' in leaking.verdict
    assert 'learned nothing' in report_of(3.0, 3.0).verdict
    assert math.isnan(report_of(3.0, 3.0).leak)
    assert to_dict(report_of(3.0, 3.0))['leak'] is None
    assert 'No wrong key was tried.' in report_of(53.0, 4.0).verdict


def test_the_best_unauthorised_holds_no_part_of_the_key():
    assert report_of(53.0, 4.0, 5.0, partly=[(90, 50.0)]).best_unauthorised.who == 'wrong key 1'


def test_random_keys_have_no_digits_beyond_their_spread():
    """By hand: 5.0 and 3.5 have the mean 4.25 and the spread 1.06; the partly right keys 50.1 and 0.25."""
    partly = [(90, 50.0), (90, 50.4), (90, 49.9), (50, 20.0)]
    lines = report_of(53.0, 4.0, 5.0, 3.5, baseline=54.5, partly=partly).lines()
    assert lines == [
        ('unprotected', '', '54.50', '', '', '30.00', '20.00'),
        ('correct key', '', '53.00', '', '', '30.00', '20.00'),
        ('no key', '', '4.00', '', '', '30.00', '20.00'),
        ('wrong keys', '2', '4', '1', '5', '30.00', '20.00'),
        ('50% of the key', '1', '20.0', '', '20.0', '30.0', '20.0'),
        ('90% of the key', '3', '50.1', '0.3', '50.4', '30.00', '20.00'),
        ('floor: majority-class baseline', '', '3.00', '', '', '30.00', '10.00'),
    ]


def test_the_leak_of_few_keys_is_not_shown_to_the_hundredth():
    """The leak was 0.40 and 0.53 with two sets of five keys."""
    report = report_of(87.8, 29.6, 30.0, 37.6, 28.5, 35.1, 22.0, floor=4.2)
    assert report.leak == pytest.approx(0.3995, abs=1e-4)
    assert report.leaks.spread == pytest.approx(0.0728, abs=1e-4)
    assert report.shown_leak == '0.40'
    wide = report_of(87.8, 10.0, 10.0, 48.4, 20.0, floor=4.2)
    assert wide.shown_leak == '0.5'
    assert 'the leak is 0.5, above the limit' in wide.verdict
    near = report_of(104.0, 4.0, 4.0, 18.0, floor=4.0)  # 0.14 with a spread of 0.1: 0.1 would be the limit itself
    assert near.shown_leak == '0.14'


def test_the_next_key_exceeds_the_worst_of_n_with_chance_one_in_n_plus_one():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(40_000, 6))
    exceeded = (values[:, 5] > values[:, :5].max(1)).mean()
    chance = Draws(values[0, :5].tolist()).chance_of_worse
    assert chance == pytest.approx(1 / 6)
    assert exceeded == pytest.approx(float(chance), abs=0.01)


def test_json_has_the_statistics_and_the_seed(tmp_path):
    report = report_of(53.0, 4.0, 5.0, 3.5, partly=[(90, 50.0), (90, 50.4)])
    write(report, tmp_path)
    saved = json.loads((tmp_path / 'access.json').read_text())
    assert saved['seed'] == 7
    assert saved['random_keys'] == [
        dict(who='wrong keys', known=0, draws=2, mean=4.25, spread=1.0607, worst=5.0, chance_of_worse=0.3333),
        dict(who='90% of the key', known=90, draws=2, mean=50.2, spread=0.2828, worst=50.4, chance_of_worse=0.3333),
    ]
    assert [row['known'] for row in saved['rows']] == [None, None, None, None, 90, 90]
    text = (tmp_path / 'access.md').read_text()
    assert 'Another key exceeds the worst with a chance of at most 1 in 3 after 2 draws.' in text
    assert '--seed 7 tries the same keys again' in text
    report.seed = None
    assert not any('seed' in name for name in facts(report))


def test_class_table():
    report = report_of(53.0, 4.0, 5.0, 3.5)
    assert class_table(report) == (
        ['correct key', 'no key', 'wrong key 1, worst of 2'],
        [['sky', '53.0', '4.0', '5'], ['<b>', '-', '-', '-']],
    )


@pytest.mark.parametrize('seed', range(3))
def test_scores_are_those_of_mmseg(seed):
    generator = torch.Generator().manual_seed(seed)
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=tuple('abcdef'))
    counts = 0
    for _ in range(4):
        label = torch.randint(0, 4, (1, 20, 30), generator=generator)  # 4 and 5 never occur
        label[0, :3] = 255
        prediction = torch.where(torch.rand(1, 20, 30, generator=generator) < 0.5, label % 255, label * 0 + 4)
        metric.process({}, [dict(pred_sem_seg=dict(data=prediction), gt_sem_seg=dict(data=label))])
        counts = counts + count_pixels(prediction, label, 6)
    scores, expected = Scores.from_counts(counts), metric.compute_metrics(metric.results)
    for name in ('mIoU', 'aAcc', 'mAcc'):
        assert getattr(scores, name) == pytest.approx(expected[name], abs=0.011)
    assert scores.IoU[5] is None
    assert scores.IoU[4] == 0


@pytest.mark.parametrize('kind', [torch.uint8, torch.int64])
def test_counts_are_those_of_mmseg_with_any_labels(kind):
    """Labels that are no class count as wrong, unless they are the ignored one."""
    label = torch.arange(256, dtype=kind).repeat(4).view(1, 32, 32)
    prediction = torch.arange(1024).view(1, 32, 32) % 5
    for ignored in (255, 0, 100):
        right, _, predicted, true = IoUMetric.intersect_and_union(prediction[0], label[0], 5, ignored)
        expected = [one.tolist() for one in (right, predicted, true)]
        assert count_pixels(prediction, label, 5, ignored).tolist() == expected
    label = torch.tensor([[-1, 0, 1, -7]])
    assert count_pixels(torch.tensor([[0, 0, 0, 1]]), label, 2).tolist() == [[1, 0], [3, 1], [1, 1]]


def test_floor_says_the_most_frequent_class():
    """By hand: 60 of 100 labelled pixels, three of four classes present."""
    floor = Scores.of_most_frequent(np.array([30.0, 60, 0, 10]))
    assert floor == Scores(mIoU=20.0, aAcc=60.0, mAcc=33.33, IoU=[0.0, 60.0, None, 0.0])


FULL = report_of(53.0, 4.0, 5.0, 6.5, baseline=54.5, partly=[(90, 50.0), (90, 51.0), (50, 9.0)])


@pytest.mark.parametrize('name', list(FIGURES))
def test_figures_take_the_colours_of_the_page(name):
    _, draw, height = figures_of(FULL)[name]
    svg, alternative = to_svg(name, draw, height)
    assert 'currentColor' in svg
    assert '#010203' not in svg
    assert svg.startswith('<svg')
    assert alternative


@pytest.mark.parametrize('name', list(FIGURES))
def test_no_legend_lies_over_the_axes(name):
    _, draw, height = figures_of(FULL)[name]
    figure, _ = draw_figure(draw, height)
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    assert axes.get_legend() is None
    assert legend.get_window_extent().y1 < axes.get_window_extent().y0
    assert legend.get_window_extent().x0 >= 0
    assert legend.get_window_extent().x1 <= figure.bbox.width


def test_no_figure_of_partly_right_keys_without_any():
    assert list(figures_of(report_of(53.0, 4.0))) == ['keys', 'classes']


def test_legend_has_every_class_that_is_shown():
    pictures = [
        Picture('a', {}, {1: (255, 0, 128)}),
        Picture('b', {}, {0: (1, 2, 3), 1: (255, 0, 128)}),
    ]
    assert legend(pictures, ['sky', 'road', 'car']) == [('sky', '#010203'), ('road', '#ff0080')]


def test_names_in_the_page_are_escaped(tmp_path):
    report = report_of(53.0, 4.0, 5.0)
    report.about['model'] = '<script>alert(1)</script>'
    write_html(report, [], tmp_path / 'report.html')
    page = (tmp_path / 'report.html').read_text()
    assert '<script' not in page
    assert '<b>' not in page
    assert '<title>Access report: &lt;script' in page
