_base_ = ['mmseg::setr/setr_vit-l_naive_8xb1-80k_cityscapes-768x768.py', '../_base_/protections/shfnp-b16.py']
data_preprocessor = _base_.protection
model = dict(data_preprocessor=data_preprocessor)
