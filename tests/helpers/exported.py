"""Small models to export."""

import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn


def save(cfg, folder):
    """Write a configuration and random weights; the batch norms have statistics, as those of a trained model."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.1, 0.1)
                part.running_var.uniform_(0.5, 1.5)
        head = model.decode_head.conv_seg
        head.weight.mul_(30)  # as initialised, all classes are nearly equal
        side = 168 if 'VisionTransformer' in str(cfg.model) else 64
        head.bias.sub_(model.eval()(4 * torch.rand(2, 3, side, side) - 2).mean((0, 2, 3)))  # no class is everywhere
    cfg.dump(folder / 'plain.py')
    meta = dict(dataset_meta=dict(classes=('road', 'car', 'sky'), palette=[[1, 2, 3]] * 3))
    torch.save(dict(meta=meta, state_dict=model.state_dict()), folder / 'plain.pth')
    return folder / 'plain.py', folder / 'plain.pth'
