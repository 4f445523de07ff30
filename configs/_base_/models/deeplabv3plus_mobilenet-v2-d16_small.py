# DeepLabV3+ on MobileNetV2 for a CPU: small heads, BN instead of SyncBN, the backbone pretrained on ImageNet
_base_ = 'mmseg::_base_/models/deeplabv3plus_r50-d8.py'
norm_cfg = dict(type='BN', requires_grad=True)
data_preprocessor = dict(mean=[128, 128, 128], std=[128, 128, 128], size=(160, 160))  # as the weights were trained
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(
        _delete_=True,
        type='MobileNetV2',
        widen_factor=1.0,
        strides=(1, 2, 2, 2, 1, 1, 1),
        dilations=(1, 1, 1, 1, 1, 2, 2),
        out_indices=(1, 2, 4, 6),
        norm_cfg=norm_cfg,
        norm_eval=True,  # BN is folded into these weights, so that batch statistics would change them
        init_cfg=dict(type='Pretrained', checkpoint='data/weights/mobilenet_v2_imagenet.pth'),
    ),
    decode_head=dict(
        in_channels=320, channels=128, c1_in_channels=24, c1_channels=24, num_classes=11, norm_cfg=norm_cfg
    ),
    auxiliary_head=dict(in_channels=96, channels=64, num_classes=11, norm_cfg=norm_cfg),
)
