"""The access evaluation of real, tiny models."""

import json

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

from mmseg_keyprotect.datasets.transforms import META_KEYS
from mmseg_keyprotect.errors import (
    ConfigError,
    DamagedFileError,
    LeakedKeyError,
    MissingFileError,
    OutputError,
    WrongKeyError,
)
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.evaluation.evaluate import evaluate_access


def by_mmseg(cfg, checkpoint):
    cfg = cfg.copy()
    cfg.load_from = checkpoint
    return Runner.from_cfg(cfg).test()


def test_report_of_trained_models(trained, baseline, tmp_path, key):
    cfg, checkpoint = trained
    out = tmp_path / 'report'
    report = evaluate_access(
        cfg, checkpoint, out, wrong_keys=2, baseline=baseline, known=[50], draws=2, command='a command', seed=3
    )
    assert [(row.who, row.kind) for row in report.rows] == [
        ('unprotected', 'baseline'),
        ('correct key', 'correct'),
        ('no key', 'none'),
        ('wrong key 1', 'wrong'),
        ('wrong key 2', 'wrong'),
        ('50% of the key, draw 1', 'partly'),
        ('50% of the key, draw 2', 'partly'),
    ]
    assert [row.known for row in report.of('partly')] == [50, 50]
    assert (report.images, report.key_id, report.key_space_bits) == (3, key.key_id, 247.8)
    for scores, expected in (
        (report.correct, by_mmseg(cfg, checkpoint)),
        (report.of('baseline')[0].scores, by_mmseg(*baseline)),
    ):
        for name in ('mIoU', 'aAcc', 'mAcc'):
            assert getattr(scores, name) == pytest.approx(expected[name], abs=0.02)
    saved = json.loads((out / 'access.json').read_text())
    assert saved['about']['command'] == 'a command'
    assert saved['seed'] == 3
    page = (out / 'report.html').read_text()
    assert page.count('<figcaption>unprotected</figcaption>') == 3
    assert page.count('<li><span style="background: #') >= 2
    assert saved['rows'][1]['mIoU'] == report.correct.mIoU
    assert report.verdict in (out / 'access.md').read_text()
    names = sorted(str(path.relative_to(out)) for path in out.rglob('*') if path.is_file())
    assert names == [
        'access.json',
        'access.md',
        'figures/classes.png',
        'figures/keys.png',
        'figures/partly.png',
        'gallery.png',
        'report.html',
    ]
    with pytest.raises(OutputError, match='without a report'):
        evaluate_access(cfg, checkpoint, out, wrong_keys=2)


def test_the_transform_form_gives_the_same(trained, tmp_path):
    """A model whose pipeline encrypts is evaluated as one whose preprocessor does."""
    cfg, checkpoint = trained
    by_transform = cfg.copy()
    cipher = by_transform.model.data_preprocessor.pop('cipher')
    by_transform.model.data_preprocessor.type = 'SegDataPreProcessor'
    by_transform.data_preprocessor = by_transform.model.data_preprocessor
    step = dict(type='KeyedBlockEncrypt', cipher=cipher)
    pack = dict(type='PackSegInputs', meta_keys=(*META_KEYS, 'img_path', 'ori_shape', 'img_shape', 'pad_shape'))
    for name in ('train', 'val', 'test'):
        pipeline = by_transform[f'{name}_dataloader'].dataset.pipeline
        pipeline[-1:] = [step, pack] if name == 'train' else [pack]
        if name != 'train':
            pipeline.insert(2, step)
    by_transform.pop('tta_pipeline')
    by_transform.pop('test_pipeline')
    by_transform.pop('train_pipeline')
    reports = [
        evaluate_access(each, checkpoint, tmp_path / name, 0, known=[], pictures=0)
        for name, each in (('preprocessor', cfg), ('transform', by_transform))
    ]
    assert reports[0].correct == reports[1].correct
    assert reports[0].of('none') == reports[1].of('none')


def test_checkpoint_of_another_key(trained, tmp_path, other_key_file):
    cfg, checkpoint = trained
    cfg.model.data_preprocessor.key = dict(type='KeyFile', path=str(other_key_file))
    with pytest.raises(WrongKeyError):
        AccessEvaluation(cfg, checkpoint)


def test_unprotected_configuration(tiny):
    with pytest.raises(ConfigError, match='encrypts nowhere'):
        AccessEvaluation(tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'), 'none.pth')


def test_a_key_in_the_configuration_is_refused(tiny, key_file):
    line = key_file.read_text().splitlines()[-1]
    with pytest.raises(LeakedKeyError):
        AccessEvaluation(tiny(note=line), 'none.pth')


TWO_CLASSES = dict(classes=('sky', 'other'), palette=[[0, 0, 0], [9, 9, 9]])


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda cfg: cfg.test_dataloader.dataset.metainfo.update(TWO_CLASSES), 'same 8 classes'),
        (lambda cfg: cfg.test_dataloader.dataset.update(indices=2), 'same 3 images'),
        (lambda cfg: cfg.model.data_preprocessor.update(type='KeyedSegDataPreProcessor'), 'unprotected model'),
    ],
)
def test_bad_baselines(trained, baseline, change, message):
    change(baseline[0])
    with pytest.raises(ConfigError, match=message):
        AccessEvaluation(*trained, baseline)


def test_no_images(trained, tmp_path):
    cfg, checkpoint = trained
    cfg.test_dataloader.dataset.data_root = str(tmp_path)
    with pytest.raises(MissingFileError, match='images/val does not exist'):
        AccessEvaluation(cfg, checkpoint)
    (tmp_path / 'images' / 'val').mkdir(parents=True)
    with pytest.raises(MissingFileError, match='holds no images'):
        AccessEvaluation(cfg, checkpoint)


@pytest.fixture
def without_labels(trained, tmp_path):
    """A copy of the validation images alone."""
    cfg, checkpoint = trained
    dataset = cfg.test_dataloader.dataset
    images = tmp_path / 'images'
    images.mkdir()
    for path in AccessEvaluation(cfg, checkpoint).images.paths:
        Image.open(path).save(images / path.split('/')[-1])
    dataset.data_root, dataset.data_prefix = '', dict(img_path=str(images), seg_map_path=str(tmp_path / 'none'))
    return cfg, checkpoint


def test_images_without_labels_give_pictures_only(without_labels, tmp_path):
    report = evaluate_access(*without_labels, tmp_path / 'report', 2)
    assert report.rows == []
    assert report.verdict.startswith('No verdict: the 3 images have no labels')
    page = (tmp_path / 'report' / 'report.html').read_text()
    assert page.count('<img') == 3 * 5
    assert report.verdict in page
    assert '<svg' not in page


def test_a_part_of_the_labels_is_missing(without_labels, tmp_path, trained):
    cfg, checkpoint = without_labels
    (tmp_path / 'none').mkdir()
    name = sorted(path.stem for path in (tmp_path / 'images').iterdir())[0]
    Image.fromarray(np.zeros((98, 110), np.uint8)).save(tmp_path / 'none' / f'{name}.png')
    with pytest.raises(ConfigError, match='2 of 3 are missing'):
        AccessEvaluation(cfg, checkpoint)


def test_an_interrupted_evaluation_goes_on(trained, tmp_path, monkeypatch):
    """The second run predicts only what is left, with the same wrong keys, and ends at the same figures."""
    cfg, checkpoint = trained
    calls = []
    predictions = AccessEvaluation.predictions

    def interrupted(self, users, index):
        calls.append(index)
        for number, prediction in enumerate(predictions(self, users, index)):
            if index == 1 and number == 3:  # after correct key, no key, and the first wrong key
                raise KeyboardInterrupt
            yield prediction

    out = tmp_path / 'report'
    monkeypatch.setattr(AccessEvaluation, 'predictions', interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluate_access(cfg, checkpoint, out, 2, known=[75], pictures=0)
    state = json.loads((out / 'state_0.json').read_text())
    assert state['done'] == 1
    monkeypatch.setattr(AccessEvaluation, 'predictions', lambda *args: calls.append(args[2]) or predictions(*args))
    calls.clear()
    with pytest.raises(OutputError, match='that of another'):
        evaluate_access(cfg, checkpoint, out, 3, known=[75], pictures=0)
    report = evaluate_access(cfg, checkpoint, out, 2, known=[75], pictures=0)
    assert set(calls) == {1, 2}
    assert not list(out.glob('state_*'))
    whole = evaluate_access(cfg, checkpoint, tmp_path / 'whole', 2, known=[75], pictures=0, seed=report.seed)
    assert whole.rows == report.rows
    assert report.seed == int(state['nonce'], 16)


def test_the_state_of_another_seed(trained, tmp_path, monkeypatch):
    monkeypatch.setattr(AccessEvaluation, '_count', lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        evaluate_access(*trained, tmp_path / 'report', 1, seed=1)
    with pytest.raises(OutputError, match='that of another in .*: another .*seed'):
        evaluate_access(*trained, tmp_path / 'report', 1, seed=2)


def test_drawn_seeds_differ(trained, tmp_path):
    """Without a seed every report tries other keys, each of which differs from the correct one."""
    seeds = [AccessEvaluation(*trained).seed for _ in range(3)]
    assert len(set(seeds)) == 3
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_damaged_state(trained, tmp_path):
    (tmp_path / 'report').mkdir()
    (tmp_path / 'report' / 'state_0.json').write_text('{"done": 1')
    with pytest.raises(DamagedFileError, match='damaged'):
        evaluate_access(*trained, tmp_path / 'report', 1)


def test_a_folder_with_something_else(tmp_path):
    (tmp_path / 'thesis.tex').touch()
    with pytest.raises(OutputError, match=r'holds thesis\.tex'):
        evaluate_access(Config(), 'none.pth', tmp_path, 1)


@pytest.mark.parametrize(
    'wrong',
    [dict(known=[-10]), dict(known=[150]), dict(wrong_keys=-1), dict(pictures=-1), dict(draws=0), dict(seed=-1)],
)
def test_numbers_that_make_no_sense(wrong, tmp_path):
    with pytest.raises(ConfigError, match='Expected shares|Expected 1 or more draws, and a seed of 0 or more'):
        evaluate_access(Config(), 'none.pth', tmp_path / 'x', **{'wrong_keys': 1, **wrong})
    assert not (tmp_path / 'x').exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(OutputError, match='Not a directory'):
        evaluate_access(Config(), 'none.pth', tmp_path / 'file' / 'report', 1)
