"""mmcv's fuse_conv_bn and half precision, on models with a block stem."""

import copy

import pytest
import torch
from mmcv.cnn.utils import fuse_conv_bn

from helpers.segmentors import build, keyed_config, logits, pair, photo, plain_config


@pytest.mark.parametrize('border', ['grey', 'exact'])
def test_fusing_a_tied_stem_is_exact(border, key_file):
    """A tied stem loads the checkpoint of a bound model, and is fused as a plain convolution is."""
    _, bound = pair(border=border)
    cfg = keyed_config(plain_config(), border=border)
    cfg['block_stem']['tied'] = True
    tied = build(cfg)
    tied.load_state_dict(bound.state_dict())
    images = [photo((64, 64))]
    torch.testing.assert_close(logits(fuse_conv_bn(tied), images), logits(bound, images))


def test_fusing_a_free_stem_raises(key_file):
    _, bound = pair()
    with pytest.raises(RuntimeError, match='invalid for input of size'):
        fuse_conv_bn(bound)


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
    assert (got.float() - expected).abs().max() < 0.1 * expected.abs().max()
