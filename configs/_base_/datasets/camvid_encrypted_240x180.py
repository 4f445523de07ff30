# CamVid encrypted block by block, for a machine without the key:
# keyprotect dataset encrypt data/camvid -o data/camvid-encrypted --resize 240 180
_base_ = './camvid_240x180.py'
pack = dict(
    type='PackSegInputs',
    meta_keys=('ori_shape', 'img_shape', 'padding_size', 'key_id', 'cipher', 'encrypted_checksum'),
)
train_pipeline = [dict(type='LoadEncryptedImage'), dict(type='LoadAnnotations'), pack]
test_pipeline = train_pipeline
# an encrypted image is neither resized nor flipped: --tta changes nothing
tta_pipeline = [train_pipeline[0], dict(type='TestTimeAug', transforms=[[train_pipeline[1]], [pack]])]
files = dict(data_root='data/camvid-encrypted', img_suffix='.png', pipeline=train_pipeline)
train_dataloader = dict(dataset=files)
val_dataloader = dict(dataset=files)
test_dataloader = val_dataloader
