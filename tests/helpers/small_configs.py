"""A small model and data set: a ResNet-18 with 8 base channels on four images of 64 x 64."""

import copy

import numpy as np
from PIL import Image

LOAD = dict(type='LoadImageFromFile')
GREY = dict(type='LoadImageFromFile', color_type='grayscale')
RESNET = dict(type='ResNet', depth=18, base_channels=8, stem_channels=8, norm_cfg=dict(type='BN'))
HEAD = dict(type='FCNHead', in_channels=64, in_index=-1, channels=8, num_convs=1, concat_input=False)


def small_config(folder, load=LOAD, in_channels=3, channels=3, classes=3, **head):
    """Return an unprotected configuration; ``head`` has further arguments of the decode head."""
    pipeline = [dict(load), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]

    def loader(batch_size):
        dataset = dict(
            type='BaseSegDataset',
            data_root=str(folder),
            metainfo=dict(classes=tuple(f'class {n}' for n in range(classes))),
            data_prefix=dict(img_path='images', seg_map_path='labels'),
            img_suffix='.png',
            pipeline=copy.deepcopy(pipeline),
        )
        sampler = dict(type='DefaultSampler', shuffle=False)
        return dict(batch_size=batch_size, num_workers=0, sampler=sampler, dataset=dataset)

    return dict(
        default_scope='mmseg',
        model=dict(
            type='EncoderDecoder',
            backbone=dict(RESNET, in_channels=in_channels),
            decode_head={**HEAD, 'num_classes': classes, **head},
            data_preprocessor=dict(
                type='SegDataPreProcessor', mean=[127.5] * channels, std=[60.0] * channels, size=(64, 64)
            ),
            test_cfg=dict(mode='whole'),
        ),
        train_dataloader=loader(2),
        test_dataloader=loader(1),
        test_pipeline=pipeline,
        test_evaluator=dict(type='IoUMetric'),
        test_cfg=dict(type='TestLoop'),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1)),
        visualizer=None,
    )


def write_images(folder, mode='RGB', classes=3):
    """Write random images and labels, as :func:`small_config` expects them, and return the folder."""
    rng = np.random.default_rng(0)
    for kind, shape, high in (('images', (64, 64, 3)[: 2 + (mode == 'RGB')], 256), ('labels', (64, 64), classes)):
        (folder / kind).mkdir()
        for number in range(4):
            Image.fromarray(rng.integers(0, high, shape, dtype=np.uint8)).save(folder / kind / f'{number}.png')
    return folder
