"""Shrink any full configuration so that it runs without data or weights, and run one step of it."""

import copy
import tempfile
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS, TRANSFORMS

import mmseg_keyprotect  # noqa: F401
from mmseg_keyprotect.config.view import find_model, find_pipelines, walk

META = ('img_path', 'ori_shape', 'img_shape', 'pad_shape', 'scale_factor', 'flip', 'flip_direction')


def dicts(node):
    return [inner for _, inner in walk(node) if isinstance(inner, dict)]


def shrink(cfg, size=64):
    """Return a small copy of a configuration: no weights to load, BN for SyncBN, small sizes, the same losses."""
    cfg = copy.deepcopy(cfg.to_dict() if isinstance(cfg, Config) else cfg)
    square, half = (size, size), (size // 2, size // 2)
    for node in dicts(cfg['model']):
        init = node.get('init_cfg') or []
        kinds = [part['type'] for part in (init if isinstance(init, list) else [init])]
        if 'Pretrained' in kinds or 'KeyedPretrained' in kinds:
            node['init_cfg'] = None
        if node.get('type') == 'SyncBN':
            node['type'] = 'BN'
        changes = dict(pretrained=None, img_size=square)
        node.update({name: value for name, value in changes.items() if node.get(name) is not None})
    model = find_model(cfg)
    if 'SETRUPHead' in [node.get('type') for node in dicts(model)]:
        shrink_setr(model)
    preprocessor = model['data_preprocessor']
    if preprocessor.get('size_divisor'):
        preprocessor['size_divisor'] = size
    else:
        preprocessor['size'] = square
    if (preprocessor.get('test_cfg') or {}).get('size'):
        preprocessor['test_cfg']['size'] = (2 * size, 2 * size)
    if model.get('test_cfg', {}).get('mode') == 'slide':
        model['test_cfg'].update(crop_size=square, stride=half)
    for pipeline in find_pipelines(cfg).values():
        for step in dicts(pipeline):
            shrink_transform(step, size)
    return Config(cfg)


def shrink_setr(model, dims=64):
    """Keep one narrow layer of the ViT for each head, since ViT-L has 300 million weights."""
    backbone = model['backbone']
    layers = len(backbone['out_indices'])
    for node in dicts(model):
        if node.get('in_channels') == backbone['embed_dims']:
            node['in_channels'] = dims
        elif node.get('in_channels') == [backbone['embed_dims']] * layers:  # of a neck
            node['in_channels'] = [dims] * layers
    backbone.update(embed_dims=dims, num_heads=4, num_layers=layers, out_indices=tuple(range(layers)))


def shrink_transform(step, size):
    wide = (2 * size, size)
    small = dict(crop_size=(size, size), max_size=4 * size, scales=[size, 2 * size])
    step.update({name: value for name, value in small.items() if step.get(name)})
    if isinstance(step.get('scale'), int):
        step['scale'] = size
    elif step.get('scale'):
        step['scale'] = [wide] if isinstance(step['scale'], list) else wide
    if step.get('type') == 'Pad' and step.get('size'):
        step['size'] = (size, size)


def side_of(cfg):
    """Return the side in pixels to which a configuration was shrunk."""
    preprocessor = find_model(cfg)['data_preprocessor']
    return preprocessor['size'][0] if preprocessor.get('size') else preprocessor['size_divisor']


def classes_of(model):
    return [node['num_classes'] for node in dicts(model['decode_head']) if 'num_classes' in node][-1]


def takes_ignored(model):
    """Tell whether the losses accept ignored pixels. With class weights those of mmseg 1.2.2 do not (issue 3734)."""
    return not any(node.get('class_weight') for node in dicts(model) if node.get('type') == 'CrossEntropyLoss')


def sample(model, shape, seed, label=True):
    """Draw a random image and its labels, packed as a training pipeline packs them."""
    rng = np.random.default_rng(seed)
    channels = len(model['data_preprocessor'].get('mean') or (0, 0, 0))
    results = dict(img=rng.integers(0, 256, (*shape, channels), dtype=np.uint8), img_shape=shape, ori_shape=shape)
    steps = [dict(type='PackSegInputs', meta_keys=META)]
    if label:
        coarse = rng.integers(0, classes_of(model), [side // 8 + 1 for side in shape])
        labels = coarse.repeat(8, 0).repeat(8, 1)[: shape[0], : shape[1]].astype(np.uint8)
        labels[:2] = 255 if takes_ignored(model) else 0
        results.update(gt_seg_map=labels, seg_fields=['gt_seg_map'])
        steps.insert(0, dict(type='GenerateEdge', edge_width=4))  # PIDNet's loss
    return Compose([TRANSFORMS.build(step) for step in steps])(results)


def train_step(model, cfg):
    size = (side_of(cfg), side_of(cfg))
    # RandomCrop leaves an image that is smaller than the crop as it is
    less = (size[0] - 3, size[1] - 5) if takes_ignored(cfg.model) else size
    batch = pseudo_collate([sample(find_model(cfg), shape, seed) for seed, shape in enumerate((size, less))])
    model.train()
    losses = model(**model.data_preprocessor(batch, True), mode='loss')
    loss, _ = model.parse_losses(losses)
    assert torch.isfinite(loss), f'loss {loss.item()}'
    loss.backward()
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads, 'nothing to train'


def predict(model, packed, shape):
    model.eval()
    with torch.no_grad():
        (result,) = model.test_step(pseudo_collate([packed]))
    assert tuple(result.pred_sem_seg.data.shape) == (1, *shape), tuple(result.pred_sem_seg.data.shape)
    return result


def write_png(path, shape):
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    return path


def run_pipeline(steps, path):
    """Run an inference pipeline on an image file, without loading annotations."""
    steps = without_labels(steps)
    for step in steps:
        if step['type'] == 'TestTimeAug':
            step['transforms'] = [branch for branch in map(without_labels, step['transforms']) if branch]
    return Compose([TRANSFORMS.build(step) for step in steps])(dict(img_path=str(path)))


def without_labels(steps):
    return [copy.deepcopy(step) for step in steps if step['type'] != 'LoadAnnotations']


def one_step(cfg, shape=None):
    """Train a small configuration for one step and predict an image in memory and an image file.

    The images for prediction have the given shape. By default it is larger than a slide window, with odd sides.
    """
    init_default_scope('mmseg')
    torch.manual_seed(0)
    side = side_of(cfg)
    shape = shape or (side + 11, side + 29)
    model = MODELS.build(cfg.model)
    train_step(model, cfg)
    predict(model, sample(find_model(cfg), shape, 2, label=False), shape)
    with tempfile.TemporaryDirectory() as folder:
        path = write_png(Path(folder) / 'image.png', shape)
        predict(model, run_pipeline(cfg.test_pipeline, path), shape)
