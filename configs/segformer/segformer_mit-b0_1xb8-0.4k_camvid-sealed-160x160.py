# Trains from a sealed data set, which is opened in memory: keyprotect dataset seal data/camvid -o data/camvid-sealed
_base_ = './segformer_mit-b0_1xb8-0.4k_camvid-160x160.py'
image, label = dict(type='LoadSealedImage'), dict(type='LoadSealedAnnotations')
train_pipeline = [image, label, *_base_.train_pipeline[2:]]
test_pipeline = [image, _base_.test_pipeline[1], label, *_base_.test_pipeline[3:]]
data_root, backend_args = 'data/camvid-sealed', dict(backend='sealed_data_set')
tested = dict(dataset=dict(data_root=data_root, backend_args=backend_args, pipeline=test_pipeline))
train_dataloader = dict(dataset=dict(data_root=data_root, backend_args=backend_args, pipeline=train_pipeline))
val_dataloader, test_dataloader = tested, tested
