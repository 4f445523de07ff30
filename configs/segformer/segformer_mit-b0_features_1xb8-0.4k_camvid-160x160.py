_base_ = ['./segformer_mit-b0_1xb8-0.4k_camvid-160x160.py', '../_base_/protections/features.py']
model = dict(type='KeyedEncoderDecoder', feature_encryption=_base_.feature_encryption)
