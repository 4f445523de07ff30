_base_ = [
    '../pspnet/pspnet_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160.py',
    '../_base_/protections/private-side.py',
]
model = dict(
    type='PrivateSideSegmentor',
    neck=dict(in_channels=[24, 32, 96, 320], out_indices=(2, 3), **_base_.private_side),
    decode_head=dict(channels=64),
)
# nothing of the public backbone is trained
optim_wrapper = dict(optimizer=dict(lr=0.02), paramwise_cfg=dict(_delete_=True))
