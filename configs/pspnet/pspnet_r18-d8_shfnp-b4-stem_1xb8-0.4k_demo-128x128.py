_base_ = ['./pspnet_r18-d8_1xb8-0.4k_demo-128x128.py', '../_base_/protections/shfnp-b4.py']
data_preprocessor = _base_.protection
model = dict(type='KeyedEncoderDecoder', data_preprocessor=data_preprocessor)
