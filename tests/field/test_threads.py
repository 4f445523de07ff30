"""Inference with one model in several threads, on images of different sizes."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from helpers.segmentors import build, plain_config

SIZES = [(64, 64), (64, 128), (128, 64), (96, 64)]


@pytest.fixture
def hurried():
    """Let threads take turns as often as Python allows."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.parametrize('cipher', ['FeatureBlockShuffle', 'FeatureShuffle'])
def test_threads_do_not_disturb_each_other(cipher, key, hurried):
    """The rows and columns of the tokens belong to the call that computes them."""
    options = dict(type=cipher, block_size=2) if cipher == 'FeatureBlockShuffle' else dict(type=cipher)
    cfg = dict(plain_config('MiT'), type='KeyedEncoderDecoder')
    model = build(dict(cfg, feature_encryption=dict(stages='all', blocks='all', cipher=options, key=key)))
    images = [torch.randn(1, 3, *size, dtype=torch.float64) for size in SIZES] * 20
    with torch.no_grad():
        expected = [model(x) for x in images]
    with ThreadPoolExecutor(2) as pool:
        got = list(pool.map(torch.no_grad()(model), images))
    for one, wanted in zip(got, expected, strict=True):
        torch.testing.assert_close(one, wanted)
