"""What people add to a training: with a tied block stem, each protected run is the plain run, step for step."""

import random

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmseg.registry import MODELS

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
KEYED = 'segformer/segformer_mit-b0_shfnp-b4_1xb8-0.4k_demo-128x128.py'
MOSAIC = [
    dict(type='RandomMosaic', prob=1.0, img_scale=(48, 48)),
    dict(type='RandomCrop', crop_size=(64, 64)),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
AUXILIARY = dict(
    type='FCNHead',
    in_channels=64,
    in_index=1,
    channels=8,
    num_classes=8,
    norm_cfg=dict(type='BN'),
    loss_decode=dict(type='CrossEntropyLoss', loss_weight=0.4),
)


def mosaic(cfg):
    dataset = cfg.train_dataloader.dataset
    dataset.pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]
    cfg.train_dataloader.dataset = dict(type='MultiImageMixDataset', dataset=dataset, pipeline=MOSAIC)


def repeated(cfg):
    dataset = cfg.train_dataloader.dataset
    both = dict(type='ConcatDataset', datasets=[dataset, dataset])
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', dataset=both, times=3)


def parameter_groups(cfg):
    rates = {'head': dict(lr_mult=10.0), 'backbone.layers.0.0': dict(lr_mult=0.5, decay_mult=0.0)}
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=rates, norm_decay_mult=0.0, bias_lr_mult=2.0)


def frozen_stem(cfg):
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={'backbone.layers.0.0.projection': dict(lr_mult=0.0)})


def sampler(cfg):
    cfg.model.decode_head.sampler = dict(type='OHEMPixelSampler', thresh=0.7, min_kept=100)


RECIPES = {
    'accumulated gradients': lambda cfg: cfg.optim_wrapper.update(accumulative_counts=2),
    'clipped gradients': lambda cfg: cfg.optim_wrapper.update(clip_grad=dict(max_norm=0.01)),
    'parameter groups': parameter_groups,
    'frozen stem': frozen_stem,
    'moving average': lambda cfg: cfg.custom_hooks.append(dict(type='EMAHook')),
    'mosaic': mosaic,
    'repeated data sets': repeated,
    'hard pixels': sampler,
    'auxiliary head': lambda cfg: cfg.model.update(auxiliary_head=AUXILIARY),
    'class weights': lambda cfg: cfg.model.decode_head.loss_decode.update(class_weight=[0.5, 2.0] * 4),
    'checkpointed activations': lambda cfg: cfg.model.backbone.update(with_cp=True),
    'batches of validation': lambda cfg: cfg.val_dataloader.update(batch_size=3),
}
QUICK = ('moving average',)


class Reseed(Hook):
    """Draws the same random numbers in every run from here on; building another model uses up another number."""

    def before_train(self, runner):
        np.random.seed(0)
        random.seed(0)
        torch.manual_seed(0)


def run(cfg):
    cfg.train_dataloader.sampler.seed = 0
    cfg.val_dataloader.dataset.pipeline.insert(1, dict(type='Resize', scale=(112, 96)))  # whole blocks
    runner = Runner.from_cfg(cfg)
    runner.register_hook(Reseed())
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    return losses, runner.message_hub.get_scalar('val/mIoU').current()


@pytest.mark.parametrize(
    'recipe', [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in RECIPES]
)
def test_protected_training_is_plain_training(recipe, tiny, tmp_path):
    """Losses of every step and the validated mIoU are the same."""
    results = []
    for name in (PLAIN, KEYED):
        cfg = tiny(name, **{'train_cfg.max_iters': 3, 'work_dir': str(tmp_path / name)})
        cfg.load_from = str(tmp_path / 'start.pth')
        cfg.custom_hooks = [] if name == PLAIN else [dict(type='KeyGuardHook', on_mismatch='warn')]
        RECIPES[recipe](cfg)
        if name == PLAIN:
            start = MODELS.build(cfg.model)
            start.init_weights()
            torch.save(dict(state_dict=start.state_dict(), meta={}), cfg.load_from)
        else:
            cfg.model.update(type='KeyedEncoderDecoder', block_stem=dict(border='exact', tied=True))
        results.append(run(cfg))
    (losses, score), (keyed_losses, keyed_score) = results
    assert len(losses) == 3
    np.testing.assert_allclose(keyed_losses, losses, rtol=1e-4)
    assert keyed_score == pytest.approx(score, abs=0.05)
