_base_ = [
    '../_base_/models/setr_vit-s14_small.py',
    '../_base_/datasets/voc440_256x256.py',
    '../_base_/schedules/schedule_0.6k_adamw.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/protections/private-side.py',
]
model = dict(
    type='PrivateSideSegmentor',
    backbone=dict(out_indices=(2, 5, 8, 11)),
    neck=dict(in_channels=[384] * 4, out_indices=(3,), **_base_.private_side),
    decode_head=dict(in_index=3, num_classes=21),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
