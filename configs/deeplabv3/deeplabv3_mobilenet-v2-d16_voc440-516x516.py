# Unprotected, for testing weights that were trained by TensorFlow's DeepLab: tools/protect_checkpoint.py protects it.
_base_ = [
    '../_base_/models/deeplabv3_mobilenet-v2-d16_tf.py',
    '../_base_/datasets/voc440_256x256.py',
    'mmseg::_base_/default_runtime.py',
]
# no training; all 440 images, whole blocks of 4 x 4 pixels, a long side of 516: 33 features, as the 513 of the training
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
