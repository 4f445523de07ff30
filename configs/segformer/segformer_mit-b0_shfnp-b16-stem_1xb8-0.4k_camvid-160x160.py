_base_ = ['./segformer_mit-b0_1xb8-0.4k_camvid-160x160.py', '../_base_/protections/shfnp-b16.py']
data_preprocessor = _base_.protection
model = dict(type='KeyedEncoderDecoder', data_preprocessor=data_preprocessor)
