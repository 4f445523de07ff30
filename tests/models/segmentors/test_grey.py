"""A block stem with the grey border differs from the plain model near the border of the image only."""

import pytest
import torch
from mmseg.structures import SegDataSample

from helpers.segmentors import (
    STRIDES,
    assert_same,
    build,
    cipher_config,
    keyed_config,
    pair,
    photo,
    plain_config,
)


class TestGrey:
    """The grey border is the default, and shows nothing of the key."""

    def test_default(self, key_file):
        cfg = keyed_config(plain_config())
        del cfg['block_stem']
        keyed = build(cfg)
        assert keyed.stem.border is None
        assert not [name for name in keyed.state_dict() if 'border' in name]

    @pytest.mark.parametrize('name', ['ViT', 'Swin', 'ConvNeXt'])
    def test_patches_have_no_border(self, name, key_file):
        assert_same(*pair(name, cipher_config(block_size=max(4, STRIDES[name])), border='grey'), photo())

    @pytest.mark.parametrize(('name', 'last'), [('ResNet', 3), ('MobileNetV2', 6)])
    def test_only_near_the_border(self, name, last, key_file):
        """Checked on the features of the first stage, whose receptive field is small."""
        plain, keyed = pair(name, border='grey', out_indices=(0, last))
        image = photo((96, 96))
        with torch.no_grad():
            got, expected = (
                model.backbone(model.data_preprocessor(dict(inputs=[image]))['inputs'])[0] for model in (keyed, plain)
            )
        difference = (got - expected).abs().amax((0, 1))
        side = len(difference)
        inside = slice(side // 3, side - side // 3)
        assert difference[inside, inside].max() < 1e-9
        assert all(edge.max() > 1e-3 for edge in (difference[0], difference[-1], difference[:, 0], difference[:, -1]))

    def test_images_are_padded_with_grey(self, key_file):
        _, keyed = pair(border='grey', padding=dict(size=(64, 64)))
        inputs = keyed.data_preprocessor(dict(inputs=[photo()], data_samples=[SegDataSample()]))['inputs']
        assert inputs[:, :, 40:].isnan().all()
        mean, std = keyed.data_preprocessor.mean, keyed.data_preprocessor.std
        grey = torch.where(inputs.isnan(), (127.5 - mean) / std, inputs)
        with torch.no_grad():
            torch.testing.assert_close(keyed.stem(inputs), keyed.stem(grey))
