_base_ = './segformer_mit-b0_shfnp-b4_8xb2-20k_voc12aug-512x512.py'
model = dict(type='KeyedEncoderDecoder')
