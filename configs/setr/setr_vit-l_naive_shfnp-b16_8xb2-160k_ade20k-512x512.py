_base_ = ['mmseg::setr/setr_vit-l_naive_8xb2-160k_ade20k-512x512.py', '../_base_/protections/shfnp-b16.py']
data_preprocessor = _base_.protection
model = dict(
    data_preprocessor=data_preprocessor,
    test_cfg=dict(stride=(336, 336)),  # MMSegmentation's 341 is not a whole number of blocks
)
