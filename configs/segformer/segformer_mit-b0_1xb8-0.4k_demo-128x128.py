# Unprotected, on the drawn scenes of `make demo`.
_base_ = [
    '../_base_/models/segformer_mit-b0_small.py',
    '../_base_/datasets/demo_160x160.py',
    '../_base_/schedules/schedule_0.4k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
model = dict(data_preprocessor=dict(size=(128, 128)), decode_head=dict(num_classes=8))
