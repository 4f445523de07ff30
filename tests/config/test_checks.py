"""Checks of a configuration: each problem is found and named."""

import copy

import pytest
from mmengine.config import Config

import mmseg_keyprotect  # noqa: F401
from helpers import NEGATIVE, SHUFFLE
from mmseg_keyprotect.config.checks import check_config
from mmseg_keyprotect.config.view import META_KEYS
from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    BlockAlignmentError,
    ConfigError,
    KeyFileError,
    LeakedKeyError,
)

ENCRYPT = dict(type='KeyedBlockEncrypt')
PACK = dict(type='PackSegInputs', meta_keys=('ori_shape', 'img_shape', 'pad_shape', *META_KEYS))
LOAD, LABEL, FLIP = dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='RandomFlip', prob=0.5)
CROP = dict(type='RandomCrop', crop_size=(64, 64))


def in_pipelines(train=None, test=None, tta=None, **model):
    """A configuration that encrypts in its pipelines."""
    train = [LOAD, LABEL, CROP, FLIP, ENCRYPT, PACK] if train is None else train
    test = [LOAD, ENCRYPT, LABEL, PACK] if test is None else test
    cfg = dict(
        model=dict(
            data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64)), test_cfg=dict(mode='whole'), **model
        ),
        train_dataloader=dict(dataset=dict(pipeline=train)),
        val_dataloader=dict(dataset=dict(pipeline=test)),
        test_dataloader=dict(dataset=dict(pipeline=test)),
        test_pipeline=test,
    )
    if tta:
        cfg['tta_pipeline'] = tta
    return copy.deepcopy(cfg)


def in_preprocessor(**preprocessor):
    """A configuration that encrypts in its preprocessor."""
    cfg = in_pipelines([LOAD, LABEL, CROP, FLIP, PACK], [LOAD, LABEL, PACK])
    cfg['model']['data_preprocessor'].update(type='KeyedSegDataPreProcessor', **preprocessor)
    return cfg


def only(cfg, error, *texts):
    problems = check_config(cfg)
    assert [type(problem) for problem in problems] == [error], problems
    for text in texts:
        assert text in str(problems[0])


@pytest.mark.parametrize('cfg', [in_pipelines(), in_preprocessor(), Config(in_pipelines()), Config(in_preprocessor())])
def test_sound(cfg, key_file):
    assert check_config(cfg) == []


def test_both_forms_together(key_file):
    cfg = in_pipelines()
    cfg['model']['data_preprocessor']['type'] = 'KeyedSegDataPreProcessor'
    assert check_config(cfg) == []


def test_no_protection(key_file):
    only(in_pipelines([LOAD, LABEL, PACK], [LOAD, LABEL, PACK]), ConfigError, 'found neither')


def test_unprotected_preprocessor_for_tta(key_file):
    """mmengine gives a wrapped model the preprocessor at the top level of the configuration."""
    cfg = in_preprocessor()
    cfg['model'] = dict(type='SegTTAModel', module=cfg['model'])
    assert check_config(cfg) == []
    cfg['data_preprocessor'] = dict(type='SegDataPreProcessor', size=(64, 64))
    only(cfg, ConfigError, 'test-time augmentation')
    cfg['data_preprocessor']['type'] = 'KeyedSegDataPreProcessor'
    assert check_config(cfg) == []


class TestSizes:
    @pytest.mark.parametrize('cfg', [in_pipelines(), in_preprocessor()])
    def test_slide_windows(self, cfg, key_file):
        cfg['model']['test_cfg'] = dict(mode='slide', crop_size=(64, 769), stride=(42, 43))
        first, second = check_config(cfg)
        assert isinstance(first, BlockAlignmentError)
        assert 'model.test_cfg.crop_size' in str(first)
        assert '(64, 768)' in str(first)
        assert '(44, 44)' in str(second)

    def test_crop_size(self, key_file):
        cfg = in_preprocessor()
        cfg['train_dataloader']['dataset']['pipeline'][2]['crop_size'] = (62, 64)
        only(cfg, BlockAlignmentError, 'train_dataloader.dataset.pipeline.2.crop_size', '(64, 64)')

    def test_crop_of_a_wrapped_data_set(self, key_file):
        cfg = in_preprocessor()
        inner = dict(pipeline=[LOAD, LABEL, dict(CROP, crop_size=61), PACK])
        cfg['train_dataloader']['dataset'] = dict(type='ConcatDataset', datasets=[inner])
        only(cfg, BlockAlignmentError, 'datasets.0.pipeline.2.crop_size', 'got 61', '60')

    def test_padding_in_testing(self, key_file):
        only(in_preprocessor(test_cfg=dict(size=(513, 513))), BlockAlignmentError, 'test_cfg.size', '(512, 512)')

    def test_divisor_of_the_padding_behind_slide_windows(self, key_file):
        cfg = in_preprocessor(test_cfg=dict(size_divisor=6))
        assert check_config(cfg) == []
        cfg['model']['test_cfg'] = dict(mode='slide', crop_size=(64, 64), stride=(44, 44))
        only(cfg, BlockAlignmentError, 'size_divisor', 'got 6', '8')

    def test_whole_testing_has_no_windows(self, key_file):
        cfg = in_preprocessor()
        cfg['model']['test_cfg'] = dict(mode='whole', crop_size=(63, 63))
        assert check_config(cfg) == []


class TestOrder:
    def test_twice_in_a_pipeline(self, key_file):
        only(in_pipelines([LOAD, LABEL, ENCRYPT, ENCRYPT, PACK]), AlreadyEncryptedError, 'train_dataloader', '2 times')

    def test_records_not_packed_with_a_keyed_preprocessor(self, key_file):
        cfg = in_pipelines([LOAD, LABEL, ENCRYPT, dict(type='PackSegInputs')])
        cfg['model']['data_preprocessor']['type'] = 'KeyedSegDataPreProcessor'
        only(cfg, AlreadyEncryptedError, "['padding_size', 'key_id', 'cipher', 'encrypted_checksum']")

    def test_records_not_packed(self, key_file):
        only(in_pipelines([LOAD, LABEL, ENCRYPT, dict(type='PackSegInputs')]), ConfigError, 'meta_keys')

    def test_geometry_after_encryption(self, key_file):
        only(in_pipelines([LOAD, LABEL, ENCRYPT, FLIP, PACK]), ConfigError, "['RandomFlip'] come after it")

    def test_label_after_encryption_in_training(self, key_file):
        only(in_pipelines([LOAD, ENCRYPT, LABEL, PACK]), ConfigError, 'after LoadAnnotations', 'train_dataloader')

    def test_label_before_encryption_in_testing(self, key_file):
        cfg = in_pipelines()
        cfg['test_pipeline'] = [LOAD, LABEL, ENCRYPT, PACK]
        only(cfg, ConfigError, 'before LoadAnnotations in test_pipeline')

    def test_inside_tta(self, key_file):
        branches = [[dict(type='Resize', scale_factor=1.0)], [FLIP], [ENCRYPT], [LABEL], [PACK]]
        tta = [LOAD, dict(type='TestTimeAug', transforms=branches)]
        assert check_config(in_pipelines(tta=tta)) == []
        branches[1], branches[2] = branches[2], branches[1]
        only(in_pipelines(tta=tta), ConfigError, 'tta_pipeline', 'RandomFlip')

    def test_padding_of_a_stock_preprocessor_in_testing(self, key_file):
        cfg = in_pipelines()
        cfg['model']['data_preprocessor']['test_cfg'] = dict(size_divisor=32)
        problems = check_config(cfg)
        assert {type(problem) for problem in problems} == {ConfigError}
        assert 'KeyedSegDataPreProcessor' in str(problems[0])


class TestSameEverywhere:
    def test_cipher_differs(self, key_file):
        test = [LOAD, dict(ENCRYPT, cipher=[NEGATIVE, SHUFFLE]), LABEL, PACK]
        only(
            in_pipelines(test=test),
            ConfigError,
            'test_pipeline has NegativePositive(block_size=4) + Shuffle(block_size=4)',
            'train_dataloader.dataset.pipeline has Shuffle(block_size=4) + NegativePositive(block_size=4)',
        )

    def test_missing_in_one_pipeline(self, key_file):
        cfg = in_pipelines()
        cfg['val_dataloader']['dataset']['pipeline'] = [LOAD, LABEL, PACK]
        only(cfg, ConfigError, 'val_dataloader.dataset.pipeline has none')

    def test_keys_differ(self, key_file, other_key_file, key, other_key):
        other = dict(ENCRYPT, key=dict(type='KeyFile', path=str(other_key_file)))
        cfg = in_pipelines()
        cfg['test_pipeline'] = [LOAD, other, LABEL, PACK]
        only(cfg, ConfigError, key.key_id, other_key.key_id)

    def test_key_cannot_be_loaded(self, monkeypatch):
        monkeypatch.delenv('KEYPROTECT_KEY_FILE', raising=False)
        only(in_preprocessor(), KeyFileError, 'keygen')


class TestStem:
    def test_keyed_pretrained_wants_a_stem(self, key_file):
        cfg = in_preprocessor()
        keyed = dict(type='KeyedPretrained', checkpoint='a.pth')
        for init in (keyed, [dict(type='Kaiming', layer='Conv2d'), keyed]):
            cfg['model'].update(type='EncoderDecoder', backbone=dict(init_cfg=init))
            only(cfg, ConfigError, 'KeyedPretrained', 'KeyedEncoderDecoder')
            cfg['model'].update(type='KeyedEncoderDecoder')
            assert check_config(cfg) == []

    def test_behind_pipelines(self, key_file):
        stem = dict(type='KeyedEncoderDecoder', block_stem=dict(block_size=4))
        assert check_config(in_pipelines(**stem)) == []
        only(in_pipelines(**stem | dict(block_stem=dict(block_size=8))), BlockAlignmentError, '[4]', '8')
        assert check_config(in_pipelines(**stem, backbone=dict(init_cfg=dict(type='Kaiming')))) == []
        init = dict(type='Pretrained', checkpoint='a.pth')
        for pretrained in (dict(pretrained='a.pth'), dict(backbone=dict(init_cfg=init))):
            only(in_pipelines(**stem, **pretrained), ConfigError, 'the key that pretrained weights absorb')


class TestLeaks:
    @pytest.fixture
    def line(self, key_file):
        return key_file.read_text().splitlines()[-1]

    def test_key_line_anywhere(self, line, key_file):
        cfg = in_preprocessor(notes=[dict(deep=f'see {line}')])
        only(cfg, LeakedKeyError, 'model.data_preprocessor.notes.0.deep')
        assert line not in str(check_config(cfg)[0])
        assert line[30:40] not in str(check_config(cfg)[0])

    @pytest.mark.parametrize('base', [False, True])
    def test_substituted_variable(self, base, line, tmp_path, monkeypatch):
        monkeypatch.setenv('MY_SECRET', line)
        (tmp_path / 'a.py').write_text("note = '{{$MY_SECRET:none}}'\n" + f'model = {in_preprocessor()["model"]!r}\n')
        (tmp_path / 'b.py').write_text("_base_ = './a.py'\n")
        cfg = Config.fromfile(tmp_path / ('b.py' if base else 'a.py'))
        problems = [problem for problem in check_config(cfg) if isinstance(problem, LeakedKeyError)]
        assert len(problems) == 1
        assert '{{$MY_SECRET:…}}' in str(problems[0])
        assert line[23:] not in str(problems[0])

    def test_a_path_from_a_variable_is_no_leak(self, key_file, tmp_path):
        (tmp_path / 'a.py').write_text(
            'cfg = ' + repr(in_preprocessor()) + "\nmodel = cfg['model']\nroot = '{{$KEYPROTECT_KEY_FILE:none}}'\n"
        )
        assert check_config(Config.fromfile(tmp_path / 'a.py')) == []
