"""MMSegmentation augments a batch after it is normalised, thus after the encryption: that is refused."""

import copy

import pytest
import torch
from mmseg.structures import SegDataSample

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.config.checks import check_structure
from mmseg_keyprotect.config.protect import protected
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models import KeyedSegDataPreProcessor

AUGMENTS = [dict(type='BatchSyncRandomResize', random_size_range=(32, 64))]
LOAD = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
PACK = dict(type='PackSegInputs')


def config(**preprocessor):
    model = dict(
        type='EncoderDecoder', data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64), **preprocessor)
    )
    return dict(model=model, train_dataloader=dict(dataset=dict(pipeline=[*LOAD, PACK])))


def mix(inputs, samples):
    return inputs.flip(0).add(inputs).div(2), samples


class TestKeyedPreprocessor:
    @pytest.mark.parametrize('augments', [mix, AUGMENTS])
    def test_when_built(self, augments, key_file):
        with pytest.raises(ConfigError, match='no `batch_augments`.*pipeline, before the encryption'):
            KeyedSegDataPreProcessor(batch_augments=augments)

    def test_when_set_later(self, key_file):
        preprocessor = KeyedSegDataPreProcessor(size=(64, 64))
        preprocessor.batch_augments = mix
        image = torch.zeros(3, 64, 64, dtype=torch.uint8)
        with pytest.raises(ConfigError, match='no `batch_augments`'):
            preprocessor(dict(inputs=[image], data_samples=[SegDataSample()]), True)

    @pytest.mark.parametrize('nothing', [None, []])
    def test_none(self, nothing, key_file):
        KeyedSegDataPreProcessor(batch_augments=nothing)

    def test_config(self):
        assert check_structure(protected(config(batch_augments=None))) == []
        with pytest.raises(ConfigError, match='no `batch_augments`'):
            protected(config(batch_augments=AUGMENTS))


class TestOtherPreprocessor:
    def test_behind_a_transform(self):
        cfg = config(batch_augments=AUGMENTS)
        cfg['train_dataloader']['dataset']['pipeline'].insert(2, dict(type='KeyedBlockEncrypt'))
        assert 'no `batch_augments`' in ' '.join(map(str, check_structure(cfg)))
        cfg['model']['data_preprocessor'].pop('batch_augments')
        assert 'batch_augments' not in ' '.join(map(str, check_structure(cfg)))

    def test_with_plain_images(self):
        """Encrypted feature maps alone leave the images plain, which may be mixed."""
        cfg = copy.deepcopy(config(batch_augments=AUGMENTS))
        assert check_structure(protected(cfg, cipher=None, features=dict(stages='all'))) == []
