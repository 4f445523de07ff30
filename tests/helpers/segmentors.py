"""Small segmentors of every backbone, plain ones and ones with a block stem."""

import copy
import functools
import importlib.util
import pickletools
import sys
import zipfile
from base64 import urlsafe_b64encode
from types import ModuleType

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import nn

import mmseg_keyprotect  # noqa: F401
from helpers import CIPHERS
from mmseg_keyprotect.ciphers import pad_image, padding_to_blocks

BN = dict(type='BN')
RESNET = dict(base_channels=8, stem_channels=8, norm_cfg=BN)
VIT = dict(img_size=64, embed_dims=16, num_layers=1, num_heads=2, out_indices=-1)
ATTO = dict(depths=[1] * 4, channels=[8, 12, 16, 20])
BACKBONES = {
    'ResNet': dict(type='ResNet', depth=18, **RESNET),
    'ResNetV1c-18': dict(type='ResNetV1c', depth=18, **RESNET),
    'ResNetV1c-50': dict(type='ResNetV1c', depth=50, **RESNET),
    'ResNetV1d': dict(type='ResNetV1d', depth=18, **RESNET),
    'ResNeXt': dict(type='ResNeXt', depth=50, groups=4, base_width=4, **RESNET),
    'MobileNetV2': dict(type='MobileNetV2', widen_factor=0.25, norm_cfg=BN),
    'MiT': dict(type='MixVisionTransformer', embed_dims=8, num_layers=[1] * 4, num_heads=[1, 1, 2, 2]),
    'ViT': dict(type='VisionTransformer', patch_size=16, **VIT),
    'Swin': dict(type='SwinTransformer', embed_dims=12, depths=(2, 1, 1, 1), num_heads=(1, 2, 2, 4), window_size=3),
    'ConvNeXt': dict(type='mmpretrain.ConvNeXt', arch=ATTO, out_indices=2, gap_before_final_norm=False),
}


FEATURES = {'MiT': 16, 'ViT': 16, 'Swin': 96, 'ConvNeXt': 16, 'MobileNetV2': 80, 'ResNetV1c-50': 256, 'ResNeXt': 256}
"""Channels of the last feature map; 64 for the backbones that are not listed."""

STRIDES = {'MiT': 4, 'ViT': 16, 'Swin': 4, 'ConvNeXt': 4}
"""Strides of the first convolution; 2 for the backbones that are not listed."""

EVERY_CIPHER = ['shuffle', 'negative-positive', 'shuffle+negative-positive', 'negative-positive+shuffle']
IMAGENET = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
NORMS = {
    'imagenet': IMAGENET,
    'tensorflow': dict(mean=[128] * 3, std=[128] * 3, bgr_to_rgb=True),
    'bgr model': dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395]),
    'rgb images': dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], channel_order='rgb'),
    'rgb images, bgr model': dict(
        mean=[90.0, 100.0, 110.0], std=[60.0, 50.0, 40.0], channel_order='rgb', rgb_to_bgr=True
    ),
    'none': {},
}


def need(name):
    """Skip the test where the package of a backbone is not installed."""
    if name != 'ConvNeXt':
        return
    parts = ('torchvision', 'torchvision.ops', 'torchvision.ops.boxes')
    stand_in = 'mmpretrain.models' not in sys.modules and importlib.util.find_spec('torchvision') is None
    if stand_in:  # mmpretrain imports torchvision without declaring it
        sys.modules.update({part: ModuleType(part) for part in parts})
    try:
        pytest.importorskip('mmpretrain.models', reason='ConvNeXt needs mmpretrain, which is not installed')
    finally:
        if stand_in:
            for part in parts:
                del sys.modules[part]


def cipher_config(name='shuffle+negative-positive', block_size=4):
    return [dict(CIPHERS[word], block_size=block_size, allow_weak=True) for word in name.split('+')]


@functools.cache
def allows_any_mean():
    """Tell whether mmengine's preprocessor takes a mean of four channels."""
    try:
        MODELS.build(dict(type='SegDataPreProcessor', mean=[0.0] * 4, std=[1.0] * 4))
    except AssertionError:
        return False
    return True


def plain_config(name='ResNet', norm=IMAGENET, test_cfg=None, padding=None, **backbone):
    head = dict(
        type='FCNHead',
        in_channels=FEATURES.get(name, 64),
        in_index=-1,
        channels=8,
        num_convs=1,
        concat_input=False,
        num_classes=5,
        norm_cfg=BN,
    )
    norm = {option: value for option, value in norm.items() if option != 'channel_order'}
    if len(norm.get('mean') or [0]) not in (1, 3) and not allows_any_mean():
        pytest.skip('onedl-mmengine takes means of one or three channels')
    return dict(
        type='EncoderDecoder',
        backbone={**BACKBONES[name], **backbone},
        decode_head=head,
        data_preprocessor=dict(type='SegDataPreProcessor', **norm, size=(64, 64), test_cfg=padding),
        test_cfg=test_cfg or dict(mode='whole'),
    )


def keyed_config(plain, cipher=None, border='exact', **options):
    """Return the configuration of a plain model with the types of a segmentor and a preprocessor that have a key."""
    cfg = copy.deepcopy(plain)
    cfg['type'] = f'Keyed{cfg["type"]}'
    cfg['data_preprocessor'].update(type='KeyedSegDataPreProcessor', cipher=cipher or cipher_config(), **options)
    cfg['block_stem'] = dict(border=border)
    return cfg


def build(cfg):
    return MODELS.build(Config(dict(model=cfg)).model).double().eval()


def stir(model, channels=3):
    """Change the offsets, scales and running statistics of a new model, so that its logits depend on its input."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 or 'embed' in name or 'token' in name:
            parameter.data += 0.2 * torch.randn_like(parameter)
    if norms:
        for module in norms:
            module.momentum = 1
        model.train()
        logits(model, [photo((64, 64), channels, seed) for seed in (5, 6)])
        model.eval()


def as_double(module, inputs):
    """Convert the input of a backbone, since mmseg's preprocessor gives float32 where it does not normalise."""
    return tuple(x.double() for x in inputs)


def bind(keyed, state):
    """Load plain weights, and all of them, into a model with a block stem."""
    keyed.load_state_dict({**state, 'data_preprocessor.protection': keyed.data_preprocessor.protection})
    return keyed


@functools.cache
def plain_of(name):
    """Return a plain model in float64. Tests share it, so they must not change it."""
    return stirred(plain_config(name))


def stirred(cfg):
    """Build a plain model in float64 whose logits depend on its input."""
    model = build(cfg)
    model.backbone.register_forward_pre_hook(as_double)
    stir(model, cfg['backbone'].get('in_channels', 3))
    return model


def pair(name='ResNet', cipher=None, border='exact', norm=IMAGENET, **options):
    """Return a plain model and one with a block stem that is bound to the key, in float64, with the same weights."""
    need(name)
    cfg = plain_config(name, norm, **options)
    plain = stirred(cfg) if options or norm is not IMAGENET else plain_of(name)
    order = {option: norm[option] for option in norm if option == 'channel_order'}
    return plain, bind(build(keyed_config(cfg, cipher, border, **order)), plain.state_dict())


def logits(model, images, encryption=None):
    """Predict as mmseg's test loop does, with the correct key or as a user with another encryption.

    Returns:
        Tensor (N, classes, H, W).
    """
    shapes = [tuple(image.shape[-2:]) for image in images]  # mmseg takes a torch.Size for that of a slide window
    samples = [SegDataSample(metainfo=dict(ori_shape=shape, img_shape=shape)) for shape in shapes]
    batch = dict(inputs=list(images), data_samples=samples)
    with torch.no_grad():
        if encryption is None:
            results = model.test_step(batch)
        else:
            results = model(**model.data_preprocessor.prepare(batch, False, encryption), mode='predict')
    for image, result in zip(images, results, strict=True):
        assert result.pred_sem_seg.data.shape == (1, *image.shape[-2:])
    return torch.stack([result.seg_logits.data for result in results])


def whole(keyed, image):
    """Extend an image to whole blocks, as the preprocessor of a model with a block stem does."""
    return pad_image(image, padding_to_blocks(*image.shape[-2:], keyed.stem.grid.block_size))


def assert_same(plain, keyed, *images):
    """Check that two models give the same logits, and that these differ between pixels; return their spread."""
    height, width = images[0].shape[-2:]
    expected = logits(plain, [whole(keyed, image) for image in images])[..., :height, :width]
    got = logits(keyed, images)
    assert got.dtype == torch.float64
    spread = expected.std((-2, -1)).max()
    assert spread > 1e-2
    assert (got - expected).abs().max() < 1e-9
    return spread


def photo(size=(37, 53), channels=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (channels, *size), dtype=np.uint8))


def photographs(folder, size=(37, 53)):
    """Return parts of two real photographs, BGR."""
    images = [cv2.imread(str(path))[60:, 80:][: size[0], : size[1]] for path in sorted(folder.glob('*.jpg'))[:2]]
    return [torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) for image in images]


def spellings(key):
    """Return the ways in which the secret of a key could be written."""
    secret = key._secret
    base64 = urlsafe_b64encode(secret[:30])  # as in a key file, before the bytes that share a digit with its checksum
    return [secret, secret.hex().encode(), secret.hex().upper().encode(), base64, str(list(secret)).encode()]


def unzip(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def tables(parts, samples):
    """Return the names of the parts of a torch file that hold a permutation of 0 ... samples - 1."""
    found, wanted = [], np.arange(samples)

    def holds(numbers):
        return len(numbers) == samples and np.array_equal(np.sort(numbers), wanted)

    for name, part in parts.items():
        blobs = [part]
        if name.endswith('data.pkl'):
            ops = [(op.name, argument) for op, argument, _ in pickletools.genops(part)]
            blobs = [a.encode('latin1') if isinstance(a, str) else a for _, a in ops if isinstance(a, bytes | str)]
            integers = [argument for op, argument in ops if 'INT' in op]
            windows = (integers[i : i + samples] for i in range(len(integers) - samples + 1))
            found += [name for window in windows if holds(window)]
        for blob in blobs:
            for dtype in ('u1', 'i2', 'i4', 'i8', 'f4', 'f8'):
                if len(blob) == samples * np.dtype(dtype).itemsize and holds(np.frombuffer(blob, dtype)):
                    found.append(name)
    return found


def loss_of(model):
    """Do one backward pass on two images of different sizes, and return the loss."""
    images = [photo(), photo((48, 61), seed=1)]
    labels = [torch.from_numpy(np.random.default_rng(3).integers(0, 5, (1, *image.shape[-2:]))) for image in images]
    samples = [SegDataSample(gt_sem_seg=PixelData(data=label)) for label in labels]
    batch = model.data_preprocessor(dict(inputs=images, data_samples=samples), True)
    loss, _ = model.parse_losses(model(**batch, mode='loss'))
    loss.backward()
    return loss
