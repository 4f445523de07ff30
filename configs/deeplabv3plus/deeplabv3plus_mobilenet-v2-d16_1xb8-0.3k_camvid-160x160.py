# Unprotected, fine-tuned from ImageNet: what the protected ones are compared with.
_base_ = [
    '../_base_/models/deeplabv3plus_mobilenet-v2-d16_small.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/schedule_0.3k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
