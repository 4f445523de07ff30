"""Training of segmentors with a block stem, of one head and of several."""

import copy

import pytest
import torch

from helpers.segmentors import (
    assert_same,
    bind,
    build,
    cipher_config,
    keyed_config,
    logits,
    loss_of,
    photo,
    plain_config,
    stir,
    whole,
)
from mmseg_keyprotect.models import KeyedCascadeEncoderDecoder


class TestTraining:
    """A model with a block stem trains like a plain one."""

    @pytest.mark.parametrize(
        ('name', 'border'), [('ResNet', 'exact'), ('ResNetV1c-18', 'grey'), ('MobileNetV2', 'exact'), ('MiT', 'grey')]
    )
    def test_one_step(self, name, border, key_file):
        keyed = build(keyed_config(plain_config(name), border=border)).float().train()
        before = copy.deepcopy(keyed.state_dict())
        assert torch.isfinite(loss_of(keyed))
        for parameter in keyed.parameters():
            assert parameter.requires_grad
            parameter.data -= 0.1 * parameter.grad
        after = keyed.state_dict()
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        prefix = f'backbone.{keyed.block_stem}.'
        assert f'{prefix}weight' in changed
        assert f'{prefix}border' not in changed
        assert all(value.isfinite().all() for value in after.values())

    @pytest.mark.parametrize(('name', 'frozen'), [('ResNet', 0), ('ResNetV1c-18', 1), ('MobileNetV2', 0), ('Swin', 0)])
    def test_frozen_stages(self, name, frozen, key_file):
        keyed = build(keyed_config(plain_config(name, frozen_stages=frozen))).float().train()
        assert not any(parameter.requires_grad for parameter in keyed.stem.parameters())
        loss_of(keyed)
        assert keyed.stem.weight.grad is None
        assert keyed.decode_head.conv_seg.weight.grad is not None

    def test_a_frozen_vit(self, key_file):
        cfg = plain_config('ViT', frozen_exclude=['layers'])
        keyed = build(keyed_config(cfg, cipher_config(block_size=16))).float().train()
        assert not any(parameter.requires_grad for parameter in keyed.stem.parameters())


class TestCascade:
    """Segmentors of several heads have a block stem too."""

    def config(self, kind):
        cfg = plain_config()
        head = dict(cfg['decode_head'], in_channels=64)
        if kind == 'OCRNet':
            ocr = dict(head, type='OCRHead', channels=16, ocr_channels=8)
            del ocr['num_convs'], ocr['concat_input']
            heads = [head, ocr]
        else:
            point = dict(type='PointHead', in_channels=[8], in_index=[0], channels=8, num_fcs=1, num_classes=5)
            heads = [head, dict(point, coarse_pred_each_layer=True, dropout_ratio=0)]
        test_cfg = dict(mode='whole', subdivision_steps=1, subdivision_num_points=10000, scale_factor=2)
        train_cfg = dict(num_points=50, oversample_ratio=3, importance_sample_ratio=0.75)
        return dict(
            cfg, type='CascadeEncoderDecoder', num_stages=2, decode_head=heads, test_cfg=test_cfg, train_cfg=train_cfg
        )

    @pytest.mark.parametrize('kind', ['OCRNet', 'PointRend'])
    def test_exact_and_trains(self, kind, key_file):
        plain = build(self.config(kind))
        if kind == 'PointRend':  # mmseg draws its points in float32
            plain.float()
        stir(plain)
        keyed = bind(build(keyed_config(self.config(kind))), plain.state_dict())
        assert isinstance(keyed, KeyedCascadeEncoderDecoder)
        if kind == 'OCRNet':
            assert_same(plain, keyed, photo())
        else:
            expected = logits(plain, [whole(keyed, photo())])[..., :37, :53]
            torch.testing.assert_close(logits(keyed.float(), [photo()]), expected, atol=1e-4, rtol=0)
        assert torch.isfinite(loss_of(keyed.float().train()))
        assert keyed.stem.weight.grad.abs().max() > 0
