"""A small model with a private side, and its public weights."""

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS

CLASSES = ('sky', 'road', 'tree')
BACKBONE = dict(type='ResNet', depth=18, base_channels=8)
CHANNELS = [8, 16, 32, 64]


def private_side_config(folder, seed=0, **model):
    """Write the public weights of a backbone into a folder, and return the configuration of a model on it."""
    init_default_scope('mmseg')
    torch.manual_seed(seed)
    backbone = MODELS.build(BACKBONE)
    backbone.init_weights()
    for module in backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
    file = folder / f'public{seed}.pth'
    torch.save(backbone.state_dict(), file)
    plain = dict(type='SegDataPreProcessor', mean=[128] * 3, std=[64] * 3, bgr_to_rgb=True, size=(64, 64))
    return Config(
        dict(
            default_scope='mmseg',
            custom_imports=dict(imports=['mmseg_keyprotect'], allow_failed_imports=False),
            model=dict(
                type='PrivateSideSegmentor',
                data_preprocessor=plain,
                backbone=dict(BACKBONE, init_cfg=dict(type='Pretrained', checkpoint=str(file))),
                neck=dict(type='SideNetwork', in_channels=CHANNELS),
                decode_head=dict(
                    type='FCNHead', in_channels=CHANNELS[-1], in_index=3, channels=8, num_classes=len(CLASSES)
                ),
                test_cfg=dict(mode='whole'),
                **model,
            ),
        )
    )


def save_private_side(folder, seed=0, **model):
    """Save a model whose private part is drawn at random; return its configuration, and the path of its checkpoint."""
    cfg = private_side_config(folder, seed, **model)
    torch.manual_seed(1)
    built = MODELS.build(cfg.model)
    built.init_weights()
    for layer in built.neck.corrections.values():
        torch.nn.init.normal_(layer.weight, std=4)
    torch.nn.init.normal_(built.decode_head.conv_seg.weight)
    file = folder / 'private.pth'
    torch.save(dict(state_dict=built.state_dict(), meta=dict(dataset_meta=dict(classes=CLASSES))), file)
    return cfg, file
