_base_ = [
    '../setr/setr_vit-s14_naive_1xb8-0.2k_camvid-168x168.py',
    '../_base_/protections/private-side.py',
]
model = dict(
    type='PrivateSideSegmentor',
    backbone=dict(out_indices=(2, 5, 8, 11)),
    neck=dict(in_channels=[384] * 4, out_indices=(3,), **_base_.private_side),
    decode_head=dict(in_index=3),
)
# nothing of the public backbone is trained
optim_wrapper = dict(optimizer=dict(lr=0.02), paramwise_cfg=dict(_delete_=True))
