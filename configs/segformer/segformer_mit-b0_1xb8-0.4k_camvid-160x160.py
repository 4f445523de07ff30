# Unprotected, for comparison with the protected models.
_base_ = [
    '../_base_/models/segformer_mit-b0_small.py',
    '../_base_/datasets/camvid_240x180.py',
    '../_base_/schedules/schedule_0.4k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
