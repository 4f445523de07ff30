"""Images with one channel or with six: the strength of a cipher is that for these images, everywhere."""

import pytest
from mmengine.config import Config
from mmengine.runner import Runner

import mmseg_keyprotect  # noqa: F401
from helpers.small_configs import GREY, small_config, write_images
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.run import run_audit
from mmseg_keyprotect.config.channels import image_channels
from mmseg_keyprotect.config.checks import check_config
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.errors import WeakCipherError
from mmseg_keyprotect.evaluation.evaluate import evaluate_access

CIPHER = [dict(type='Shuffle', block_size=4), dict(type='NegativePositive', block_size=4)]
BIG_BLOCKS = [dict(part, block_size=8) for part in CIPHER]
WEAK_BLOCKS = [dict(part, allow_weak=True) for part in CIPHER]


def greyscale(folder, load=GREY, in_channels=1, channels=1):
    return small_config(folder, load, in_channels, channels)


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
    assert image_channels(greyscale('data', **options)) == expected


def test_a_configuration_that_says_nothing_is_for_rgb():
    assert image_channels(dict(model=dict(type='EncoderDecoder'))) == 3


def test_a_cipher_that_is_weak_for_greyscale_is_refused(key_file):
    with pytest.raises(WeakCipherError, match='with 1 channels has 57.9 key bits'):
        protected(greyscale('data'))
    assert check_config(protected(greyscale('data'), BIG_BLOCKS)) == []
    with pytest.warns(UserWarning, match='57.9'):
        assert check_config(protected(greyscale('data'), WEAK_BLOCKS)) == []


def test_the_checks_refuse_it_too(key_file):
    cfg = protected(greyscale('data'), BIG_BLOCKS)
    cfg['model']['data_preprocessor']['cipher'] = CIPHER
    (problem,) = check_config(cfg)
    assert isinstance(problem, WeakCipherError)
    assert '57.9' in str(problem)


def test_more_channels_are_as_strong(key_file):
    six = greyscale('data', dict(type='LoadSingleRSImageFromFile'), 6, 6)
    assert check_config(protected(six)) == []


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:Weak cipher')
@pytest.mark.parametrize('stem', [None, dict(border='grey')])
def test_reports_of_a_greyscale_model(stem, tmp_path, key_file):
    cfg = Config(protected(greyscale(write_images(tmp_path, 'L')), WEAK_BLOCKS, block_stem=stem))
    cfg.work_dir = str(tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    checkpoint = f'{cfg.work_dir}/iter_1.pth'
    report = evaluate_access(cfg, checkpoint, tmp_path / 'report', 1, known=[50], pictures=2, draws=2)
    assert report.key_space_bits == 57.9
    audit = run_audit(cfg, checkpoint, tmp_path / 'audit', list(ATTACKS), 0.02, 2, held_out=2, steps=2)
    assert audit.key_space_bits == 57.9
    found = {finding.attack: finding for finding in audit.findings}
    assert found['chosen-images'].whole_key
    assert found['known-pairs'].whole_key
