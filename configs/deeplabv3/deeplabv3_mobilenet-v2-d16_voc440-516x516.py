# Unprotected, for testing weights that were trained by TensorFlow's DeepLab: tools/protect_checkpoint.py protects it.
_base_ = ['../_base_/datasets/voc440_256x256.py', 'mmseg::_base_/default_runtime.py']
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
norm_cfg = dict(type='BN', requires_grad=True)
data_preprocessor = dict(
    type='SegDataPreProcessor',
    mean=[128, 128, 128],
    std=[128, 128, 128],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    test_cfg=dict(size=(516, 516)),
)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type='DilatedMobileNetV2',
        widen_factor=1.0,
        strides=(1, 2, 2, 2, 1, 1, 1),
        dilations=(1, 1, 1, 1, 1, 1, 2),
        out_indices=(1, 2, 4, 6),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        type='ASPPHead',
        in_channels=320,
        in_index=3,
        channels=256,
        dilations=(1,),
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=norm_cfg,
        align_corners=True,
    ),
    test_cfg=dict(mode='whole'),
)
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
