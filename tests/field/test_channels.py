"""Images with one channel or with six: the strength of a cipher is that for these images, everywhere."""

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from PIL import Image

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.run import run_audit
from mmseg_keyprotect.config.channels import image_channels
from mmseg_keyprotect.config.checks import check_config
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.errors import WeakCipherError
from mmseg_keyprotect.evaluation.evaluate import evaluate_access

GREY = dict(type='LoadImageFromFile', color_type='grayscale')
RESNET = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='BN'))
CIPHER = [dict(type='Shuffle', block_size=4), dict(type='NegativePositive', block_size=4)]
HEAD = dict(type='FCNHead', in_channels=64, in_index=-1, channels=8, num_convs=1, concat_input=False, num_classes=3)
BIG_BLOCKS = [dict(part, block_size=8) for part in CIPHER]
WEAK_BLOCKS = [dict(part, allow_weak=True) for part in CIPHER]


def config(folder, load=GREY, in_channels=1, channels=1):
    """An unprotected configuration with a small ResNet, and a data set of three classes."""
    pipeline = [dict(load), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        metainfo=dict(classes=('one', 'two', 'three')),
        data_prefix=dict(img_path='images', seg_map_path='labels'),
        img_suffix='.png',
        pipeline=pipeline,
    )
    loader = dict(
        batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False), dataset=dict(dataset)
    )
    return dict(
        default_scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            backbone=dict(RESNET, in_channels=in_channels),
            decode_head=dict(HEAD),
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[127.5] * channels, std=[60.0] * channels, size=(64, 64)
            ),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=loader,
        test_dataloader=dict(loader, batch_size=1, dataset=dict(dataset)),
        test_pipeline=[dict(step) for step in pipeline],
        test_evaluator=dict(type='IoUMetric'),
        test_cfg=dict(type='TestLoop'),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        visualizer=None,
    )


@pytest.fixture
def greyscale(tmp_path):
    """A folder of four greyscale images with labels."""
    rng = np.random.default_rng(0)
    for kind, high in (('images', 256), ('labels', 3)):
        (tmp_path / kind).mkdir()
        for number in range(4):
            Image.fromarray(rng.integers(0, high, (64, 64), dtype=np.uint8)).save(tmp_path / kind / f'{number}.png')
    return tmp_path


@pytest.mark.parametrize(
    ('options', 'expected'),
    [
        (dict(), 1),
        (dict(load=dict(GREY, color_type='grayscale_ignore_orientation'), in_channels=3, channels=3), 1),
        (dict(load=dict(type='LoadImageFromFile', color_type='unchanged')), 1),
        (dict(load=dict(type='LoadImageFromFile'), in_channels=3, channels=3), 3),
        (dict(load=dict(type='LoadSingleRSImageFromFile'), in_channels=6, channels=6), 6),
        (dict(load=dict(type='LoadSingleRSImageFromFile'), in_channels=None, channels=4), 4),
    ],
)
def test_channels_of_a_configuration(options, expected):
    assert image_channels(config('data', **options)) == expected


def test_a_configuration_that_says_nothing_is_for_rgb():
    assert image_channels(dict(model=dict(type='EncoderDecoder'))) == 3


def test_a_cipher_that_is_weak_for_greyscale_is_refused(key_file):
    with pytest.raises(WeakCipherError, match='with 1 channels has 57.9 key bits'):
        protected(config('data'))
    assert check_config(protected(config('data'), BIG_BLOCKS)) == []
    with pytest.warns(UserWarning, match='57.9'):
        assert check_config(protected(config('data'), WEAK_BLOCKS)) == []


def test_the_checks_refuse_it_too(key_file):
    cfg = protected(config('data'), BIG_BLOCKS)
    cfg['model']['data_preprocessor']['cipher'] = CIPHER
    (problem,) = check_config(cfg)
    assert isinstance(problem, WeakCipherError)
    assert '57.9' in str(problem)


def test_more_channels_are_as_strong(key_file):
    six = config('data', dict(type='LoadSingleRSImageFromFile'), 6, 6)
    assert check_config(protected(six)) == []


@pytest.mark.filterwarnings('ignore:Weak cipher')
@pytest.mark.parametrize('stem', [None, dict(border='grey')])
def test_reports_of_a_greyscale_model(stem, greyscale, tmp_path, key_file):
    cfg = Config(protected(config(greyscale), WEAK_BLOCKS, block_stem=stem))
    cfg.work_dir = str(tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    checkpoint = f'{cfg.work_dir}/iter_1.pth'
    report = evaluate_access(cfg, checkpoint, tmp_path / 'report', 1, known=[50], pictures=2)
    assert report.key_space_bits == 57.9
    audit = run_audit(cfg, checkpoint, tmp_path / 'audit', list(ATTACKS), 0.02, 2, held_out=2, steps=2)
    assert audit.key_space_bits == 57.9
    found = {finding.attack: finding for finding in audit.findings}
    assert found['chosen-images'].whole_key
    assert found['known-pairs'].whole_key
