# The drawn scenes of `make demo`, 160x160: 8 classes that differ by shape and texture.
dataset_type = 'BaseSegDataset'
data_root = 'work_dirs/demo/scenes'
metainfo = dict(
    classes=('sky', 'ground', 'water', 'road', 'building', 'tree', 'fence', 'car'),
    palette=[
        [158, 208, 240], [168, 196, 118], [58, 110, 190], [120, 116, 128],
        [196, 84, 66], [44, 124, 78], [240, 196, 90], [196, 76, 160],
    ],
)  # fmt: skip
crop_size = (128, 128)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=size, keep_ratio=False) for size in ((160, 160), (200, 200))],
            [dict(type='RandomFlip', prob=float(flip), direction='horizontal') for flip in (0, 1)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
dataset = dict(type=dataset_type, data_root=data_root, metainfo=metainfo, img_suffix='.png', seg_map_suffix='.png')
train_dataloader = dict(
    batch_size=8,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_prefix=dict(img_path='images/train', seg_map_path='annotations/train'), pipeline=train_pipeline, **dataset
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data_prefix=dict(img_path='images/val', seg_map_path='annotations/val'), pipeline=test_pipeline, **dataset
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
