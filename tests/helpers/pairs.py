"""Pairs of a plain model and a protected one with the same weights, for tests of what users do with models."""

import copy

import torch
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from helpers.segmentors import bind, build, keyed_config, pair, plain_config, stirred
from mmseg_keyprotect.models.features.binding import bind_features

FEATURE_SHUFFLE = dict(type='FeatureShuffle')


def tied_pair(name='ResNet', cipher=None, border='exact', **options):
    """Return a plain model and one with a tied block stem, in float64."""
    cfg = plain_config(name, **options)
    plain = stirred(cfg)
    keyed = keyed_config(cfg, cipher, border)
    keyed['block_stem']['tied'] = True
    return plain, bind(build(keyed), plain.state_dict())


def features_pair(name='ResNet', cipher=FEATURE_SHUFFLE, stem=True):
    """Return a plain model and one with encrypted feature maps, and a block stem if wanted, in float64."""
    cfg = plain_config(name)
    plain = stirred(cfg)
    keyed = keyed_config(cfg) if stem else dict(copy.deepcopy(cfg), type='KeyedEncoderDecoder')
    keyed['feature_encryption'] = dict(stages='all', cipher=cipher)
    model = build(keyed)
    parts = ('data_preprocessor', 'feature_encryption')
    named = {f'{part}.protection': getattr(model, part).protection for part in parts[not stem :]}
    model.load_state_dict({**plain.state_dict(), **named})
    bind_features(model.backbone, model.feature_encryption)
    return plain, model


PAIRS = {'free': pair, 'tied': tied_pair}


def prepared(model, images):
    """Return the input of the network for a list of images, in float64."""
    return model.data_preprocessor(dict(inputs=list(images)))['inputs'].double()


def labelled(model, images, labels):
    """Return the prepared batch of images with labels, for ``mode='loss'``."""
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    batch = model.data_preprocessor(dict(inputs=list(images), data_samples=samples), True)
    return dict(batch, inputs=batch['inputs'].double())


def as_float32(model):
    """Return a copy of a model in float32, without the hooks of the tests."""
    model = copy.deepcopy(model).float()
    model.backbone._forward_pre_hooks.clear()
    return model


def zeroed(model):
    """Return a copy of a model whose parameters are all zero."""
    model = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model
