# Unprotected, for tests of weights that TensorFlow's DeepLab trained; `keyprotect protect` binds them to a key.
_base_ = [
    '../_base_/models/deeplabv3_mobilenet-v2-d16_tf.py',
    '../_base_/datasets/voc440_256x256.py',
    'mmseg::_base_/default_runtime.py',
]
# No training. All 440 images have whole blocks of 4 x 4 pixels. A long side of 516 gives 33 feature rows, as 513 did
# in training.
train_dataloader = None
val_dataloader = None
val_evaluator = None
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(516, 516), keep_ratio=True),
    dict(type='ResizeToMultiple', size_divisor=4),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
test_dataloader = dict(dataset=dict(ann_file='ImageSets/Segmentation/all.txt', pipeline=test_pipeline))
test_cfg = dict(type='TestLoop')
