# Unprotected, for attacks on weights that TensorFlow's DeepLab trained, and for fine-tuning them. It tests on 110
# images of VOC that the weights never saw, and trains on 330 others.
_base_ = [
    '../_base_/models/deeplabv3_mobilenet-v2-d16_tf.py',
    '../_base_/datasets/voc440_256x256.py',
    '../_base_/schedules/schedule_0.3k_adamw.py',
    'mmseg::_base_/default_runtime.py',
]
crop_size = (160, 160)
data_preprocessor = dict(size=crop_size, test_cfg=dict(size=(256, 256)))
model = dict(data_preprocessor=data_preprocessor)
optim_wrapper = dict(optimizer=dict(lr=0.0001))
