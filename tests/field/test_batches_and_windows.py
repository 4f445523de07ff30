"""Batches of several images and slide windows at odd sizes."""

import pytest
import torch
from mmseg.structures import SegDataSample

from helpers.segmentors import assert_same, pair, photo

SLIDE = dict(mode='slide', crop_size=(64, 64), stride=(32, 32))


@pytest.mark.parametrize('size', [(40, 48), (37, 53), (64, 100), (99, 65), (33, 130)])
def test_windows(size, key_file):
    """open-mmlab/mmsegmentation#389 and #2302: images smaller than a window, and images that are no whole windows."""
    plain, keyed = pair(test_cfg=SLIDE)
    assert_same(plain, keyed, photo(size, seed=3))


def predict(model, images):
    shapes = [tuple(image.shape[-2:]) for image in images]
    samples = [SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape)) for shape in shapes]
    with torch.no_grad():
        return [one.seg_logits.data for one in model.test_step(dict(inputs=list(images), data_samples=samples))]


class TestBatches:
    """open-mmlab/mmsegmentation#2965 and #1643: several images at once."""

    def test_of_one_size(self, key_file):
        _, keyed = pair()
        images = [photo((61, 62), seed=seed) for seed in range(3)]
        for one, got in zip(images, predict(keyed, images), strict=True):
            torch.testing.assert_close(got, predict(keyed, [one])[0])

    def test_of_sizes_that_are_as_many_blocks(self, key_file):
        """The plain model refuses them, the protected one extends them to one size, and cuts each back."""
        plain, keyed = pair()
        images = [photo((61, 62), seed=1), photo((62, 61), seed=2)]
        with pytest.raises(AssertionError, match='image size in a batch'):
            predict(plain, images)
        for one, got in zip(images, predict(keyed, images), strict=True):
            assert got.shape[-2:] == one.shape[-2:]
            torch.testing.assert_close(got, predict(keyed, [one])[0])

    def test_of_other_sizes(self, key_file):
        for model in pair():
            with pytest.raises(AssertionError, match='image size in a batch'):
                predict(model, [photo((61, 62)), photo((90, 61))])
