# Unprotected, for comparison with the protected models.
_base_ = [
    '../_base_/models/pspnet_r18-d8_small.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/schedule_0.7k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
