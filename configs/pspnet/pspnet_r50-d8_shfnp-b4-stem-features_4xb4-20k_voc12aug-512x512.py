_base_ = ['mmseg::pspnet/pspnet_r50-d8_4xb4-20k_voc12aug-512x512.py', '../_base_/protections/shfnp-b4.py']
data_preprocessor = _base_.protection
model = dict(
    type='KeyedEncoderDecoder',
    data_preprocessor=data_preprocessor,
    block_stem=dict(border='grey'),
    feature_encryption=dict(cipher=dict(type='FeatureShuffle'), stages='all'),  # signs do not pass a ReLU
)
