_base_ = [
    '../segformer/segformer_mit-b0_1xb8-0.4k_camvid-160x160.py',
    '../_base_/protections/private-side.py',
]
checkpoint = 'https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/segformer/mit_b0_20220624-7e0fe6dd.pth'
model = dict(
    type='PrivateSideSegmentor',
    backbone=dict(init_cfg=dict(type='Pretrained', checkpoint=checkpoint)),
    neck=dict(in_channels=[32, 64, 160, 256], **_base_.private_side),
    decode_head=dict(channels=64),
)
optim_wrapper = dict(optimizer=dict(lr=0.02))
