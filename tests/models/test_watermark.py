"""The preprocessor that trains with a watermark."""

import pytest
import torch
from mmengine.structures import PixelData
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models import KeyedSegDataPreProcessor, WatermarkSegDataPreProcessor

SETTINGS = dict(mean=[120.0, 110, 100], std=[60.0, 58, 56], bgr_to_rgb=True, size=(16, 24))


def batch(images=4, height=16, width=24):
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator) for _ in range(images)]
    label = torch.zeros(1, height, width, dtype=torch.int64)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label.clone())) for _ in inputs]
    for sample in samples:
        sample.set_metainfo(dict(ori_shape=(height, width), img_shape=(height, width), padding_size=(0, 0, 0, 0)))
    return dict(inputs=inputs, data_samples=samples)


def test_a_share_of_a_training_batch_is_encrypted(key):
    torch.manual_seed(0)
    marked = WatermarkSegDataPreProcessor(share=0.5, key=key, **SETTINGS)
    encrypted = KeyedSegDataPreProcessor(key=key, **SETTINGS)(batch(), True)['inputs']
    plain = SegDataPreProcessor(**SETTINGS)(batch(), True)['inputs']
    found = marked(batch(), True)['inputs']
    assert torch.equal(found[:2], encrypted[:2])
    assert torch.equal(found[2:], plain[2:])


def test_the_share_is_right_on_average(key):
    torch.manual_seed(0)
    marked = WatermarkSegDataPreProcessor(share=0.25, key=key, **SETTINGS)
    plain = SegDataPreProcessor(**SETTINGS)(batch(1), True)['inputs']
    changed = [not torch.equal(marked(batch(1), True)['inputs'], plain) for _ in range(200)]
    assert 0.15 < sum(changed) / 200 < 0.35


def test_images_are_plain_in_testing(key):
    marked, plain = WatermarkSegDataPreProcessor(key=key, **SETTINGS), SegDataPreProcessor(**SETTINGS)
    for training in (False, True):
        found, wanted = marked.eval()(batch(height=15), training), plain.eval()(batch(height=15), training)
        assert torch.equal(found['inputs'], wanted['inputs'])


def test_labels_grow_with_their_images(key):
    settings = {**SETTINGS, 'size': None, 'size_divisor': 1, 'seg_pad_val': 255}
    found = WatermarkSegDataPreProcessor(key=key, **settings)(batch(height=13), True)
    assert found['inputs'].shape[-2:] == (16, 24)
    assert {tuple(sample.gt_sem_seg.data.shape) for sample in found['data_samples']} == {(1, 16, 24)}
    assert (found['data_samples'][0].gt_sem_seg.data[:, 13:] == 255).all()


def test_a_checkpoint_names_no_key(key):
    marked = MODELS.build(dict(type='WatermarkSegDataPreProcessor', key=key, **SETTINGS))
    assert not marked.state_dict()
    assert str(marked.load_state_dict({})) == '<All keys matched successfully>'
    SegDataPreProcessor(**SETTINGS).load_state_dict(marked.state_dict())


@pytest.mark.parametrize('share', [0, 1, -1, 2.0, float('nan')])
def test_bad_shares(share, key):
    with pytest.raises(ConfigError, match='above 0 and below 1'):
        WatermarkSegDataPreProcessor(share=share, key=key)
