"""Scores, figures that sum up, verdicts, tables, files."""

import math

import numpy as np
import pytest
import torch
from mmseg.evaluation import IoUMetric

from helpers.reports import report_of
from mmseg_keyprotect.evaluation.figures import FIGURES, to_svg
from mmseg_keyprotect.evaluation.html_report import write_html
from mmseg_keyprotect.session.scores import Scores, count_pixels


def test_verdicts():
    denied = report_of(53.0, 4.0, 5.0, 3.5, baseline=54.5)
    assert denied.leak == pytest.approx(2 / 50)
    assert denied.price == 1.5
    assert denied.verdict.startswith('shuffle/M=4 denies access: 53.0 mIoU with the correct key, at best 5.0')
    assert denied.verdict.endswith('It costs 1.5 points against the unprotected model.')
    leaking = report_of(53.0, 20.0, 51.0)
    assert leaking.leak == pytest.approx(48 / 50)
    assert leaking.price is None
    assert 'FAILS to deny access fully' in leaking.verdict
    assert 'at best 51.0 without it (wrong key 1), floor 3.0. The key is worth 2.0 points' in leaking.verdict
    assert 'learned nothing' in report_of(3.0, 3.0).verdict
    assert math.isnan(report_of(3.0, 3.0).leak)
    assert report_of(3.0, 3.0).to_dict()['leak'] is None


def test_the_best_unauthorised_holds_no_part_of_the_key():
    assert report_of(53.0, 4.0, 5.0, partly=[(90, 50.0)]).best_unauthorised.who == 'wrong key 1'


def test_table_text():
    table = report_of(53.0, 4.0, 5.0, 3.5, baseline=54.5).table()
    for text in ('unprotected', '53.00', 'wrong keys, mean of 2', '4.25', '0.75', 'wrong keys, best of them', 'floor'):
        assert text in table


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


def test_floor_says_the_most_frequent_class():
    """By hand: 60 of 100 labelled pixels, three of four classes present."""
    floor = Scores.of_most_frequent(np.array([30.0, 60, 0, 10]))
    assert floor == Scores(mIoU=20.0, aAcc=60.0, mAcc=33.33, IoU=[0.0, 60.0, None, 0.0])


@pytest.mark.parametrize('name', list(FIGURES))
def test_figures_take_the_colours_of_the_page(name):
    svg, alternative = to_svg(name, report_of(53.0, 4.0, 5.0, 6.5, baseline=54.5, partly=[(90, 50.0)]))
    assert 'currentColor' in svg
    assert '#010203' not in svg
    assert svg.startswith('<svg')
    assert alternative


def test_names_in_the_page_are_escaped(tmp_path):
    report = report_of(53.0, 4.0, 5.0)
    report.about['model'] = '<script>alert(1)</script>'
    write_html(report, [], tmp_path / 'report.html')
    page = (tmp_path / 'report.html').read_text()
    assert '<script' not in page
    assert '<b>' not in page
