"""mmcv's fuse_conv_bn and half precision, on models with a block stem."""

import copy

import pytest
import torch
from mmcv.cnn.utils import fuse_conv_bn
from torch import nn

from helpers.segmentors import build, keyed_config, logits, pair, photo, plain_config


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('border', ['grey', 'exact'])
@pytest.mark.parametrize('name', ['ResNet', 'ResNetV1c-18', 'MobileNetV2'])
def test_fusing_is_exact(name, border, tied, key_file):
    """mmcv fuses the convolutions with the norms behind them; the first convolution is a block stem."""
    _, bound = pair(name, border=border)
    cfg = keyed_config(plain_config(name), border=border)
    cfg['block_stem']['tied'] = tied
    model = build(cfg)
    model.load_state_dict(bound.state_dict())
    images = [photo((64, 64))]
    fused = fuse_conv_bn(model)
    assert not [part for part in fused.modules() if isinstance(part, nn.BatchNorm2d)]
    torch.testing.assert_close(logits(fused, images), logits(bound, images))


def test_half_precision_under_autocast(key_file):
    _, bound = pair(border='grey')
    images = [photo((64, 64))]
    expected = logits(bound, images).float()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        got = logits(copy.deepcopy(bound).float(), images).float()
    assert (got - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('tied', [False, True])
def test_half_precision(dtype, tied, key_file):
    """Images reach the stem in float32, as mmseg's preprocessor gives them, and leave it in half precision."""
    _, bound = pair(border='grey')
    cfg = keyed_config(plain_config(), border='grey')
    cfg['block_stem']['tied'] = tied
    model = build(cfg)
    model.load_state_dict(bound.state_dict())
    images = [photo((64, 64))]
    expected = logits(bound, images).float()
    got = logits(model.to(dtype), images)
    assert got.dtype == dtype
    assert (got.float() - expected).abs().max() < 0.3 * expected.abs().max()
