# Unprotected, with the block stem of the protected model, for comparison.
_base_ = './segformer_mit-b0_1xb8-0.4k_camvid-160x160.py'
custom_imports = dict(imports=['mmseg_keyprotect'], allow_failed_imports=False)
data_preprocessor = dict(test_cfg=dict(size_divisor=4))  # a cipher would extend images to whole blocks
model = dict(type='KeyedEncoderDecoder', data_preprocessor=data_preprocessor, block_stem=dict(block_size=4))
