_base_ = ['mmseg::deeplabv3/deeplabv3_r50-d8_4xb4-20k_voc12aug-512x512.py', '../_base_/protections/shfnp-b4.py']
data_preprocessor = _base_.protection
model = dict(type='KeyedEncoderDecoder', data_preprocessor=data_preprocessor)
