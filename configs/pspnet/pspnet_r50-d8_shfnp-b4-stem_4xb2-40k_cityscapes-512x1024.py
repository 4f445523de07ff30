_base_ = ['mmseg::pspnet/pspnet_r50-d8_4xb2-40k_cityscapes-512x1024.py', '../_base_/protections/shfnp-b4.py']
data_preprocessor = _base_.protection
model = dict(type='KeyedEncoderDecoder', data_preprocessor=data_preprocessor)
