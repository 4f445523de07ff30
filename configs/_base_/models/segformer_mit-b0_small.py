# SegFormer-B0 for a CPU: BN in the head instead of SyncBN
_base_ = 'mmseg::_base_/models/segformer_mit-b0.py'
model = dict(
    data_preprocessor=dict(size=(160, 160)),
    decode_head=dict(num_classes=11, norm_cfg=dict(type='BN', requires_grad=True)),
)
