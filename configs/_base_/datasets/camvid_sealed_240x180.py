# CamVid from a sealed data set, opened in memory: keyprotect dataset seal data/camvid -o data/camvid-sealed
_base_ = './camvid_240x180.py'
image, label = dict(type='LoadSealedImage'), dict(type='LoadSealedAnnotations')
train_pipeline = [image, label, *_base_.train_pipeline[2:]]
test_pipeline = [image, _base_.test_pipeline[1], label, *_base_.test_pipeline[3:]]
resized, flipped, _, packed = _base_.tta_pipeline[1].transforms
tta_pipeline = [image, dict(type='TestTimeAug', transforms=[resized, flipped, [label], packed])]
files = dict(data_root='data/camvid-sealed', backend_args=dict(backend='sealed_data_set'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **files))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **files))
test_dataloader = val_dataloader
