"""Averages of weights over a model with a tied block stem."""

import copy

import pytest
import torch
from mmengine.hooks import EMAHook
from mmengine.model import ExponentialMovingAverage, StochasticWeightAverage
from mmengine.runner import Runner
from torch.optim.swa_utils import AveragedModel

from helpers.segmentors import build, keyed_config, plain_config
from mmseg_keyprotect.errors import ConfigError


def tied_model(key):
    torch.manual_seed(0)
    cfg = keyed_config(plain_config(), border='grey', key=key)
    cfg['block_stem']['tied'] = True
    return build(cfg)


def trained_twice(model):
    """Yield the model after each of two changes of its weights."""
    for step in (1, 2):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * step)
        yield model


AVERAGES = {
    'swa of torch': lambda model: AveragedModel(model),
    'swa of torch with buffers': lambda model: AveragedModel(model, use_buffers=True),
    'swa': lambda model: StochasticWeightAverage(model),
    'ema': lambda model: ExponentialMovingAverage(model, momentum=0.5),
}


@pytest.mark.parametrize('name', AVERAGES)
def test_averages_over_parameters_are_exact(name, key):
    """The average is halfway between the two states, and its state dict is the absorbed average."""
    model = tied_model(key)
    start = model.stem.weight.detach().clone()
    averaged = AVERAGES[name](model)
    for one in trained_twice(model):
        averaged.update_parameters(one)
    torch.testing.assert_close(averaged.module.stem.weight.detach(), start + 0.2)
    fresh = tied_model(key)
    fresh.load_state_dict(averaged.module.state_dict())
    torch.testing.assert_close(fresh.stem.weight, averaged.module.stem.weight)


def test_averages_of_checkpoints_are_exact(key):
    """Absorbing is affine, so that the mean of absorbed weights is the absorbed mean."""
    model = tied_model(key)
    start = model.stem.weight.detach().clone()
    first, second = (copy.deepcopy(one.state_dict()) for one in trained_twice(model))
    mean = {name: torch.lerp(v, second[name], 0.5) if v.is_floating_point() else v for name, v in first.items()}
    model.load_state_dict(mean)
    torch.testing.assert_close(model.stem.weight.detach(), start + 0.2)


TIED = {
    'model.type': 'KeyedEncoderDecoder',
    'model.block_stem': dict(border='grey', tied=True),
    'val_cfg': None,
    'val_dataloader': None,
    'val_evaluator': None,
}


@pytest.mark.parametrize('options', [dict(update_buffers=True), dict(begin_iter=2), dict(begin_epoch=2)])
def test_ema_over_state_dicts_is_refused(options, tiny):
    hooks = [dict(type='KeyGuardHook'), dict(type='EMAHook', **options)]
    (name,) = options
    with pytest.raises(ConfigError, match=f'EMAHook .*but got {name}='):
        Runner.from_cfg(tiny(custom_hooks=hooks, **TIED)).train()


def test_ema_over_parameters_trains(tiny):
    hooks = [dict(type='KeyGuardHook'), dict(type='EMAHook', momentum=0.5)]
    runner = Runner.from_cfg(tiny(custom_hooks=hooks, **TIED))
    start = runner.model.stem.weight.detach().clone()
    runner.train()
    (ema,) = (hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook))
    assert not torch.equal(ema.stem.weight, start)
    assert not torch.equal(ema.stem.weight, runner.model.stem.weight)
