"""Tiny trained models."""

import pytest

from helpers.trainings import train_once

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def trained(tiny):
    cfg = tiny()
    return cfg, train_once(cfg, 'tiny')


@pytest.fixture
def baseline(tiny, tmp_path):
    cfg = tiny(PLAIN, work_dir=str(tmp_path / 'plain'))
    return cfg, train_once(cfg, 'tiny baseline')
