# Unprotected, fine-tuned from a pretrained ViT, for comparison with protected models.
_base_ = [
    '../_base_/models/setr_vit-s14_small.py',
    '../_base_/datasets/camvid_252x182.py',
    '../_base_/schedules/schedule_0.2k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
optim_wrapper = dict(optimizer=dict(lr=0.0001), paramwise_cfg=dict(custom_keys=dict(head=dict(lr_mult=10.0))))
