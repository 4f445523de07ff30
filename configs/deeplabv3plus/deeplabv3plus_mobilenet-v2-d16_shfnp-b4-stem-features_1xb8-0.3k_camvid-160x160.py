_base_ = [
    './deeplabv3plus_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160.py',
    '../_base_/protections/shfnp-b4.py',
]
data_preprocessor = _base_.protection
model = dict(
    type='KeyedEncoderDecoder',
    data_preprocessor=data_preprocessor,
    backbone=dict(init_cfg=dict(type='KeyedPretrained')),
    block_stem=dict(border='grey'),
    feature_encryption=dict(stages='all'),
)
