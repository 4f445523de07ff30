# Images and feature maps are encrypted. Denial training lets the model predict the majority class without the key.
_base_ = ['./segformer_mit-b0_1xb8-0.4k_camvid-160x160.py', '../_base_/protections/shfnp-b4.py']
data_preprocessor = _base_.protection
model = dict(
    type='KeyedEncoderDecoder',
    data_preprocessor=data_preprocessor,
    block_stem=dict(border='grey'),
    feature_encryption=dict(stages='all'),
    denial=dict(weight=1.0),
)
