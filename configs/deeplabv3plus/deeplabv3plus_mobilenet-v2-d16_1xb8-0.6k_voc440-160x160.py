# Unprotected, fine-tuned from ImageNet weights, for comparison with the protected models.
_base_ = [
    '../_base_/models/deeplabv3plus_mobilenet-v2-d16_small.py',
    '../_base_/datasets/voc440_256x256.py',
    '../_base_/schedules/schedule_0.6k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
model = dict(decode_head=dict(num_classes=21), auxiliary_head=dict(num_classes=21))
# a low learning rate for the pretrained backbone, a high one for the new heads
optim_wrapper = dict(optimizer=dict(lr=0.0001), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
