"""The access table of a real, tiny model."""

import json

import numpy as np
import pytest
from mmengine.runner import Runner

from mmseg_keyprotect.errors import ConfigError, LeakedKeyError, WrongKeyError
from mmseg_keyprotect.evaluation.access import AccessEvaluation, _floor
from mmseg_keyprotect.evaluation.picture import save_picture
from mmseg_keyprotect.evaluation.report import AccessReport, AccessRow


@pytest.fixture
def trained(tiny, tmp_path):
    cfg = tiny()
    Runner.from_cfg(cfg).train()
    return cfg, str(tmp_path / 'work' / 'iter_2.pth')


def test_table_of_a_trained_model(trained, tmp_path, key):
    cfg, checkpoint = trained
    evaluation = AccessEvaluation(cfg, checkpoint, str(tmp_path / 'evaluation'))
    report = evaluation.run(wrong_keys=2)
    assert [row.who for row in report.rows] == ['correct key', 'no key', 'wrong key 1', 'wrong key 2']
    assert report.images == 3
    assert report.key_id == key.key_id
    assert report.key_space_bits == 247.8
    cfg.load_from = checkpoint
    by_mmseg = Runner.from_cfg(cfg).test()
    assert report.correct.mIoU == pytest.approx(by_mmseg['mIoU'], abs=0.01)
    assert report.correct.aAcc == pytest.approx(by_mmseg['aAcc'], abs=0.01)
    saved = json.loads(report.save(tmp_path / 'report', config='a.py').read_text())
    assert saved['config'] == 'a.py'
    assert saved['rows'][0]['mIoU'] == report.correct.mIoU
    assert report.verdict in (tmp_path / 'report' / 'access.md').read_text()
    with pytest.raises(ConfigError, match='has one'):
        report.save(tmp_path / 'report')
    assert save_picture(evaluation, tmp_path / 'access.png', images=2).stat().st_size > 10_000
    assert evaluation.model.data_preprocessor.keyed_cipher is evaluation.correct


def test_checkpoint_of_another_key(trained, tmp_path, other_key_file):
    cfg, checkpoint = trained
    cfg.model.data_preprocessor.key = dict(type='KeyFile', path=str(other_key_file))
    with pytest.raises(WrongKeyError):
        AccessEvaluation(cfg, checkpoint, str(tmp_path / 'evaluation'))


def test_unprotected_configuration(tiny, tmp_path):
    cfg = tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py')
    with pytest.raises(ConfigError, match='encrypts nowhere'):
        AccessEvaluation(cfg, 'none.pth', str(tmp_path / 'evaluation'))


def test_a_key_in_the_configuration_is_refused_before_anything_is_written(tiny, tmp_path, key_file):
    line = key_file.read_text().splitlines()[-1]
    with pytest.raises(LeakedKeyError):
        AccessEvaluation(tiny(note=line), 'none.pth', str(tmp_path / 'evaluation'))
    assert not (tmp_path / 'evaluation').exists()


def report_of(correct, no_key, *wrong, floor=3.0):
    rows = [AccessRow('correct key', correct, 90, 80), AccessRow('no key', no_key, 30, 20)]
    rows += [AccessRow(f'wrong key {n}', value, 30, 20) for n, value in enumerate(wrong, 1)]
    return AccessReport(rows, AccessRow('floor', floor, 30, 10), 5, '0' * 16, 'shuffle/M=4', 202.9)


def test_verdicts():
    denied = report_of(53.0, 4.0, 5.0, 3.5)
    assert denied.leak == pytest.approx(2 / 50)
    assert denied.verdict.startswith('shuffle/M=4 denies access: 53.0 mIoU with the correct key, 5.0 at best')
    open_door = report_of(53.0, 20.0, 51.0)
    assert open_door.leak == pytest.approx(48 / 50)
    assert 'FAILS to deny access fully' in open_door.verdict
    assert '51.0 at best without it (wrong key 1), floor 3.0: the key is worth 2.0 points' in open_door.verdict
    assert 'learned nothing' in report_of(3.0, 3.0).verdict
    assert np.isnan(report_of(3.0, 3.0).leak)


def test_table_text():
    table = report_of(53.0, 4.0, 5.0, 3.5).table()
    for text in ('correct key', '53.00', 'wrong keys, mean of 2', '4.25', 'wrong keys, best of them', 'floor'):
        assert text in table


def test_floor_says_the_most_frequent_class():
    """By hand: 60 of 100 labelled pixels, three of four classes present."""
    pixels = np.zeros(256, dtype=np.int64)
    pixels[[0, 1, 3, 255]] = 30, 60, 10, 1000
    assert _floor(pixels, classes=4) == AccessRow('floor', mIoU=20.0, aAcc=60.0, mAcc=33.33)
