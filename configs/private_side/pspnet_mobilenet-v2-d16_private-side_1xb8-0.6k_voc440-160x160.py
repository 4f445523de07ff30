_base_ = [
    '../_base_/models/pspnet_mobilenet-v2-d16_small.py',
    '../_base_/datasets/voc440_256x256.py',
    '../_base_/schedules/schedule_0.6k_adamw.py',
    'mmseg::_base_/default_runtime.py',
    '../_base_/protections/private-side.py',
]
model = dict(
    type='PrivateSideSegmentor',
    neck=dict(in_channels=[24, 32, 96, 320], out_indices=(2, 3), **_base_.private_side),
    decode_head=dict(channels=64, num_classes=21),
    auxiliary_head=dict(num_classes=21),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
