_base_ = ['mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py', '../_base_/protections/shfnp-b4.py']
data_preprocessor = _base_.protection
model = dict(type='KeyedEncoderDecoder', data_preprocessor=data_preprocessor)
