_base_ = './deeplabv3plus_mobilenet-v2-d8_shfnp-b4_4xb4-20k_voc12aug-512x512.py'
model = dict(type='KeyedEncoderDecoder')
