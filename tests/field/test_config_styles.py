"""Configurations as mmengine builds them: types as classes, scoped types, ``read_base``, wrappers of data sets."""

import copy

import pytest
import torch
from mmcv.transforms import LoadImageFromFile
from mmengine.config import Config
from mmengine.runner import Runner
from mmseg.datasets import LoadAnnotations, PackSegInputs
from mmseg.models import EncoderDecoder, SegDataPreProcessor
from mmseg.registry import MODELS

import mmseg_keyprotect  # noqa: F401
from helpers.small_configs import small_config, write_images
from helpers.trainings import train_once
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.run import run_audit
from mmseg_keyprotect.cli.key_options import load
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.config import protect_config
from mmseg_keyprotect.config.checks import check_config
from mmseg_keyprotect.config.datasets import find_chains, find_datasets
from mmseg_keyprotect.config.edit import set_data_root, set_key_file, unprotected
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.config.view import find_preprocessor, kind_of
from mmseg_keyprotect.datasets import KeyedBlockEncrypt
from mmseg_keyprotect.datasets.transforms import META_KEYS
from mmseg_keyprotect.engine import KeyGuardHook
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError
from mmseg_keyprotect.evaluation.evaluate import evaluate_access
from mmseg_keyprotect.models import KeyedSegDataPreProcessor
from mmseg_keyprotect.session.images import TestImages

NEW_STYLE = """
from mmcv.transforms import LoadImageFromFile
from mmengine.config import read_base
from mmseg.datasets import LoadAnnotations, PackSegInputs, RandomCrop
from mmseg.models import EncoderDecoder, SegDataPreProcessor
from mmseg.registry import MODELS

with read_base():
    from .base import *

train_dataloader.dataset.pipeline = [
    dict(type=LoadImageFromFile),
    dict(type=LoadAnnotations),
    dict(type=RandomCrop, crop_size=(61, 61)),
    dict(type=PackSegInputs),
]
model.type = EncoderDecoder
model.data_preprocessor.type = SegDataPreProcessor
"""


class EncoderDecoderOfMine(EncoderDecoder):
    """A user's own segmentor."""


def with_classes(cfg):
    """Name the types of a configuration by their classes."""
    cfg = copy.deepcopy(cfg)
    cfg['model'].update(type=EncoderDecoder)
    cfg['model']['data_preprocessor'].update(type=SegDataPreProcessor)
    kinds = {kind.__name__: kind for kind in (LoadImageFromFile, LoadAnnotations, PackSegInputs)}
    for name in ('train_dataloader', 'test_dataloader'):
        for step in cfg[name]['dataset']['pipeline']:
            step['type'] = kinds[step['type']]
    return cfg


def mixed(inner, outer):
    """A configuration whose training images pass the pipeline of a data set, and then that of its wrapper."""
    cfg = small_config('data')
    dataset = cfg['train_dataloader']['dataset']
    dataset['pipeline'] = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), *inner]
    pack = dict(type='PackSegInputs', meta_keys=META_KEYS)
    wrapper = dict(type='MultiImageMixDataset', dataset=dataset, pipeline=[*outer, pack])
    cfg['train_dataloader']['dataset'] = wrapper
    cfg['test_pipeline'] = cfg['test_dataloader']['dataset']['pipeline'] = [
        dict(type='LoadImageFromFile'),
        dict(type='KeyedBlockEncrypt'),
        dict(type='LoadAnnotations'),
        pack,
    ]
    return cfg


def joined(*folders, **options):
    """The data sets of several folders, in a ConcatDataset in a RepeatDataset."""
    parts = [dict(small_config(folder)['test_dataloader']['dataset'], **options) for folder in folders]
    return dict(type='RepeatDataset', times=1, dataset=dict(type='ConcatDataset', datasets=parts))


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('PackSegInputs', 'PackSegInputs'),
        ('mmseg.PackSegInputs', 'PackSegInputs'),
        ('mmseg.datasets.transforms.PackSegInputs', 'PackSegInputs'),
        (PackSegInputs, 'PackSegInputs'),
        (KeyedBlockEncrypt, 'KeyedBlockEncrypt'),
        ('mine.EncoderDecoder', 'mine.EncoderDecoder'),
        (EncoderDecoderOfMine, f'{__name__}.EncoderDecoderOfMine'),
    ],
)
def test_kinds(kind, expected):
    assert kind_of(dict(type=kind)) == expected


def test_nothing_has_no_kind():
    assert [kind_of(node) for node in ({}, None, dict(type=None), 'Pad')] == [''] * 4


class TestClasses:
    def test_protect(self, key_file):
        cfg = protected(with_classes(small_config('data')), block_stem=dict(border='grey'))
        assert check_config(cfg) == []
        assert kind_of(cfg['model']) == 'KeyedEncoderDecoder'
        with pytest.raises(AlreadyEncryptedError):
            protected(cfg)

    def test_checks(self, key_file):
        cfg = with_classes(small_config('data'))
        cfg['model']['data_preprocessor'].update(type=KeyedSegDataPreProcessor, size=(62, 64))
        cfg['custom_hooks'] = [dict(type=KeyGuardHook)]
        for form in (cfg, Config(cfg)):
            (problem,) = check_config(form)
            assert 'data_preprocessor.size' in str(problem)
        assert find_preprocessor(unprotected(Config(cfg)).to_dict())['type'] == 'SegDataPreProcessor'

    def test_transform(self, key_file):
        cfg = with_classes(small_config('data'))
        for name in ('train_dataloader', 'test_dataloader'):
            cfg[name]['dataset']['pipeline'].insert(1, dict(type=KeyedBlockEncrypt))
        problems = ' '.join(str(problem) for problem in check_config(cfg))
        assert 'after LoadAnnotations in train_dataloader' in problems
        assert 'PackSegInputs in test_dataloader' in problems
        assert 'test_pipeline has none' in problems

    def test_a_key_file(self, tmp_path):
        cfg = with_classes(small_config('data'))
        cfg['model']['data_preprocessor'].update(type=KeyedSegDataPreProcessor)
        set_key_file(cfg, 'my.key')
        assert cfg['model']['data_preprocessor']['key'] == dict(type='KeyFile', path='my.key')


def test_a_segmentor_of_the_user_is_not_replaced():
    cfg = small_config('data')
    cfg['model']['type'] = EncoderDecoderOfMine
    with pytest.raises(ConfigError, match='EncoderDecoderOfMine'):
        protected(cfg, block_stem=dict(border='grey'))


def test_read_base(tmp_path, key_file):
    write_images(tmp_path)
    base = Config(small_config(tmp_path)).pretty_text
    (tmp_path / 'base.py').write_text(base)
    (tmp_path / 'new.py').write_text(NEW_STYLE)
    target = protect_config(tmp_path / 'new.py', tmp_path / 'protected.py', block_stem=dict(border='grey'))
    cfg = Config.fromfile(target)
    assert check_config(cfg) == []
    assert cfg.train_dataloader.dataset.pipeline[2].crop_size == (60, 60)
    cfg.default_scope = None  # as most configurations of the new style have it
    cfg.work_dir = str(tmp_path / 'work')
    Runner.from_cfg(cfg).train()
    report = evaluate_access(cfg, f'{cfg.work_dir}/iter_1.pth', tmp_path / 'report', 1, known=[], pictures=0)
    assert report.images == 4
    with pytest.raises(AlreadyEncryptedError):
        protect_config(target, tmp_path / 'again.py')


class TestMixedImages:
    def test_the_transform_in_the_wrapper(self, key_file):
        assert check_config(mixed([], [dict(type='RandomFlip', prob=0.5), dict(type='KeyedBlockEncrypt')])) == []

    def test_the_transform_before_what_the_wrapper_does(self, key_file):
        (problem,) = check_config(mixed([dict(type='KeyedBlockEncrypt')], [dict(type='RandomMosaic', prob=1)]))
        assert "['RandomMosaic'] come after it" in str(problem)

    def test_the_transform_twice(self, key_file):
        problems = check_config(mixed([dict(type='KeyedBlockEncrypt')], [dict(type='KeyedBlockEncrypt')]))
        assert any('found it 2 times' in str(problem) for problem in problems)

    def test_no_transform(self, key_file):
        (problem,) = check_config(mixed([], []))
        assert 'train_dataloader.dataset.pipeline has none' in str(problem)

    def test_chains(self):
        cfg = mixed([], [dict(type='RandomFlip')])
        cfg['train_dataloader']['dataset']['dataset'] = joined('a', 'b')
        chains = [chain for chain in find_chains(cfg) if chain.place.startswith('train_')]
        assert len(chains) == 2
        for chain in chains:
            assert chain.place == 'train_dataloader.dataset.pipeline'
            kinds = [kind_of(step) for step in chain.steps]
            assert kinds == ['LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs', 'RandomFlip', 'PackSegInputs']


class TestDataFolder:
    def test_wrappers(self):
        cfg = Config(small_config('old'))
        cfg.test_dataloader.dataset = joined('old', 'old')
        set_data_root(cfg, 'new')
        roots = [dataset.data_root for dataset in find_datasets(cfg.test_dataloader.dataset)]
        assert roots == ['new', 'new']
        assert 'data_root' not in cfg.test_dataloader.dataset
        assert cfg.train_dataloader.dataset.data_root == 'new'

    def test_several_folders_are_refused(self, tmp_path):
        cfg = Config(small_config('old'))
        cfg.test_dataloader.dataset = joined('one', 'two')
        cfg.dump(tmp_path / 'c.py')
        with pytest.raises(ConfigError, match='test_dataloader in one folder, .* but got one, two'):
            load(str(tmp_path / 'c.py'), {}, 'new')


@pytest.fixture
def trained(tmp_path, key_file):
    """A protected model whose test data set is wrapped."""
    write_images(tmp_path)
    cfg = protected(small_config(tmp_path), block_stem=dict(border='grey'))
    cfg['test_dataloader']['dataset'] = joined(tmp_path)
    cfg = Config(dict(cfg, work_dir=str(tmp_path / 'work')))
    return cfg, train_once(cfg, 'wrapped')


class TestReports:
    def test_wrapped_test_data(self, trained, tmp_path):
        cfg, checkpoint = trained
        report = evaluate_access(cfg, checkpoint, tmp_path / 'report', 1, known=[], pictures=1)
        assert report.images == 4
        assert report.about['data'] == f'RepeatDataset, {tmp_path}'
        cfg.train_dataloader.dataset = dict(
            type='MultiImageMixDataset', dataset=dict(cfg.train_dataloader.dataset), pipeline=[]
        )
        inner = cfg.train_dataloader.dataset.dataset
        cfg.train_dataloader.dataset.pipeline = inner.pipeline[2:]
        inner.pipeline = inner.pipeline[:2]
        attacks = ['known-pairs', 'hill-climbing-labels', 'fine-tuning']
        assert set(attacks) <= set(ATTACKS)
        audit = run_audit(cfg, checkpoint, tmp_path / 'audit', attacks, 0.01, 2, held_out=2, steps=1)
        outcomes = {finding.attack: finding for finding in audit.findings}
        assert outcomes['known-pairs'].applicable
        assert 'wrapper mixes images' in outcomes['fine-tuning'].sentence

    def test_without_labels(self, trained, tmp_path):
        cfg, checkpoint = trained
        for dataset in find_datasets(cfg.test_dataloader.dataset):
            dataset.data_prefix = dict(img_path='images')
        report = evaluate_access(cfg, checkpoint, tmp_path / 'report', 1, known=[], pictures=1)
        assert report.rows == []
        with pytest.raises(ConfigError, match='Expected test images with labels'):
            run_audit(cfg, checkpoint, tmp_path / 'audit', ['known-pairs'], 0.01, 2, held_out=2)

    def test_some_labels_are_not_named(self, trained, tmp_path):
        cfg, _ = trained
        other = copy.deepcopy(find_datasets(cfg.test_dataloader.dataset)[0])
        other.data_prefix = dict(img_path='images')
        cfg.test_dataloader.dataset.dataset.datasets.append(other)
        with pytest.raises(ConfigError, match=r'4 of 8 are missing, for example that of .*images.0\.png'):
            TestImages(cfg)

    def test_classes_without_names(self, trained):
        cfg, _ = trained
        for dataset in find_datasets(cfg.test_dataloader.dataset):
            dataset.pop('metainfo')
        with pytest.raises(ConfigError, match='names its classes'):
            TestImages(cfg)

    def test_no_test_data(self, trained, tmp_path):
        cfg, checkpoint = trained
        cfg.pop('test_dataloader')
        with pytest.raises(ConfigError, match='with test_dataloader'):
            evaluate_access(cfg, checkpoint, tmp_path / 'report', 1)


@pytest.mark.parametrize('wrap', [False, True])
def test_verify(wrap, tmp_path, key_file, capsys):
    write_images(tmp_path)
    cfg = small_config('nowhere')
    if wrap:
        cfg['test_dataloader']['dataset'] = joined('nowhere')
    Config(cfg).dump(tmp_path / 'c.py')
    torch.save(dict(state_dict=MODELS.build(Config(cfg).model).state_dict()), tmp_path / 'c.pth')
    words = ['protect', str(tmp_path / 'c.py'), str(tmp_path / 'c.pth'), '--verify', '--images', '2']
    words += ['--data', str(tmp_path)]
    assert main([*words, '-o', str(tmp_path / 'protected')]) == 0
    assert 'difference +0.00' in capsys.readouterr().out
    for path in (tmp_path / 'labels').iterdir():
        path.unlink()
    assert main([*words, '-o', str(tmp_path / 'again')]) == 1
    assert 'Expected test images with labels' in capsys.readouterr().err
