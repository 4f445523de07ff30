_base_ = './setr_vit-l_naive_shfnp-b16_8xb2-160k_ade20k-512x512.py'
model = dict(type='KeyedEncoderDecoder')
