# Unprotected, fine-tuned from ImageNet: what the protected ones are compared with.
_base_ = [
    '../_base_/models/pspnet_mobilenet-v2-d16_small.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/schedule_0.3k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
# the pretrained backbone learns slowly, the new heads fast
optim_wrapper = dict(optimizer=dict(lr=0.0001), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
