# Unprotected, fine-tuned from ImageNet weights, for comparison with the protected models.
_base_ = [
    '../_base_/models/pspnet_mobilenet-v2-d16_small.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/schedule_0.3k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
# a low learning rate for the pretrained backbone, a high one for the new heads
optim_wrapper = dict(optimizer=dict(lr=0.0001), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
