"""Tiny trained models."""

import pytest
from mmengine.runner import Runner

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def trained(tiny, tmp_path):
    cfg = tiny()
    Runner.from_cfg(cfg).train()
    return cfg, str(tmp_path / 'work' / 'iter_2.pth')


@pytest.fixture
def baseline(tiny, tmp_path):
    cfg = tiny(PLAIN, work_dir=str(tmp_path / 'plain'))
    Runner.from_cfg(cfg).train()
    return cfg, str(tmp_path / 'plain' / 'iter_2.pth')
