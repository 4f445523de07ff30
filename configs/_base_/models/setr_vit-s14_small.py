# SETR (naive head) on ViT-S/14 for a CPU: BN instead of SyncBN, no auxiliary heads, the backbone pretrained
_base_ = 'mmseg::_base_/models/setr_naive.py'
data_preprocessor = dict(size=(168, 168))
model = dict(
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(
        img_size=(168, 168),
        patch_size=14,
        embed_dims=384,
        num_layers=12,
        num_heads=6,
        out_indices=(11,),
        drop_rate=0.0,
        patch_bias=True,
        final_norm=True,
        init_cfg=dict(type='Pretrained', checkpoint='data/weights/vit_s14_fp16.pth'),
    ),
    decode_head=dict(
        in_channels=384,
        channels=128,
        in_index=0,
        num_classes=11,
        norm_cfg=dict(type='BN', requires_grad=True),
    ),
    auxiliary_head=None,
)
