"""A small trained model: its configuration file and its checkpoint."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

import mmseg_keyprotect  # noqa: F401
from helpers.small_configs import small_config


def build(seed):
    init_default_scope('mmseg')  # fixtures of the session come before the one that sets it
    torch.manual_seed(seed)
    cfg = Config(small_config('.'))
    model = MODELS.build(cfg.model)
    model.init_weights()
    return cfg, model


@pytest.fixture(scope='session')
def trained(tmp_path_factory):
    """The paths of the configuration and of the checkpoint."""
    folder = tmp_path_factory.mktemp('trained')
    cfg, model = build(0)
    cfg.dump(folder / 'plain.py')
    torch.save(dict(meta=dict(iter=1), state_dict=model.state_dict()), folder / 'plain.pth')
    return folder / 'plain.py', folder / 'plain.pth'


@pytest.fixture(scope='session')
def apart():
    """The weights of a model that was trained apart."""
    return build(1)[1].state_dict()
