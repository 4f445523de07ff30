# Trains on images that were encrypted block by block, on a machine without the key:
# keyprotect dataset encrypt data/camvid -o data/camvid-encrypted --resize 240 180
_base_ = './segformer_mit-b0_1xb8-0.4k_camvid-160x160.py'
pack = dict(
    type='PackSegInputs',
    meta_keys=('ori_shape', 'img_shape', 'padding_size', 'key_id', 'cipher', 'encrypted_checksum'),
)
train_pipeline = [dict(type='LoadEncryptedImage'), dict(type='LoadAnnotations'), pack]
test_pipeline = [dict(type='LoadEncryptedImage'), dict(type='LoadAnnotations'), pack]
tta_pipeline = None
files = dict(data_root='data/camvid-encrypted', img_suffix='.png')
tested = dict(dataset=dict(pipeline=test_pipeline, **files))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **files))
val_dataloader, test_dataloader = tested, tested
