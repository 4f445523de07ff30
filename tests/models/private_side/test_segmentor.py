"""PrivateSideSegmentor: a backbone that never changes, and checkpoints without it."""

import copy

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from mmseg.apis import inference_model, init_model
from mmseg.registry import MODELS

from helpers.private_side import BACKBONE, private_side_config, save_private_side
from helpers.small_models import train_step
from mmseg_keyprotect.errors import ConfigError, MissingFileError
from mmseg_keyprotect.protection.checkpoints import load_strictly


def built(cfg):
    torch.manual_seed(2)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def backbone_of(model):
    return {name: tensor.clone() for name, tensor in model.backbone.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_the_backbone_has_the_public_weights_and_training_leaves_them(tmp_path):
    cfg = private_side_config(tmp_path)
    model = built(cfg)
    public = torch.load(tmp_path / 'public0.pth', weights_only=True)
    assert same(backbone_of(model), public)
    private = copy.deepcopy(model.decode_head.state_dict())
    train_step(model, cfg)
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert same(backbone_of(model), public)  # the statistics of its batch norms too
    assert not same(model.decode_head.state_dict(), private)
    assert all(parameter.grad is None for parameter in model.backbone.parameters())


def test_features_do_not_depend_on_the_private_part(tmp_path):
    cfg, image = private_side_config(tmp_path), torch.rand(1, 3, 64, 64)
    model = built(cfg).train()
    before = model.public_features(image)
    for parameter in [*model.neck.parameters(), *model.decode_head.parameters()]:
        parameter.data.normal_()
    assert all(torch.equal(*pair) for pair in zip(before, model.public_features(image), strict=True))
    assert not any(feature.requires_grad for feature in before)


def test_a_checkpoint_holds_the_private_part_alone(tmp_path):
    model = built(private_side_config(tmp_path))
    for state in (model.state_dict(), get_state_dict(model)):  # of torch, and of mmengine
        assert not [name for name in state if name.startswith('backbone.')]
        assert {'public_norms', 'neck.reads.0.conv.weight', 'decode_head.conv_seg.weight'} <= set(state)
    wrapped = torch.nn.Sequential(model)
    assert not [name for name in wrapped.state_dict() if 'backbone' in name]


@pytest.mark.parametrize('how', ['torch', 'mmengine', 'commands', 'inference'])
def test_loading_brings_the_public_weights(tmp_path, how):
    cfg, file = save_private_side(tmp_path)
    state = torch.load(file, weights_only=True)['state_dict']
    if how == 'inference':
        model = init_model(cfg, str(file), 'cpu')
        image = torch.randint(256, (40, 56, 3), dtype=torch.uint8).numpy()
        cfg.test_pipeline = [dict(type='LoadImageFromFile'), dict(type='PackSegInputs')]
        model.cfg = cfg
        assert inference_model(model, image).pred_sem_seg.data.shape == (1, 40, 56)
    else:
        model = MODELS.build(cfg.model)
        if how == 'torch':
            model.load_state_dict(state)
        elif how == 'mmengine':
            load_checkpoint(model, str(file), strict=True)
        else:
            load_strictly(model, state)
    assert same(backbone_of(model), torch.load(tmp_path / 'public0.pth', weights_only=True))
    assert same(model.state_dict(), state)


def test_a_copy_of_a_model_loads_by_itself(tmp_path):
    """Average weights of mmengine are those of a deep copy."""
    cfg, file = save_private_side(tmp_path)
    model = copy.deepcopy(MODELS.build(cfg.model))
    model.load_state_dict(torch.load(file, weights_only=True)['state_dict'])
    save_checkpoint(dict(state_dict=get_state_dict(model), meta={}), str(tmp_path / 'again.pth'))
    again = torch.load(tmp_path / 'again.pth', weights_only=True)['state_dict']
    assert same(again, torch.load(file, weights_only=True)['state_dict'])


def test_other_public_weights_are_refused(tmp_path):
    _, file = save_private_side(tmp_path)
    model = MODELS.build(private_side_config(tmp_path, seed=1).model)
    with pytest.raises(ConfigError, match='trained beside, but got others: conv1.weight'):
        model.load_state_dict(torch.load(file, weights_only=True)['state_dict'])


def test_public_weights_in_half_precision_are_the_same(tmp_path):
    cfg, file = save_private_side(tmp_path)
    public = torch.load(tmp_path / 'public0.pth', weights_only=True)
    half = {name: one.half() if one.is_floating_point() else one for name, one in public.items()}
    torch.save(half, tmp_path / 'public0.pth')
    MODELS.build(cfg.model).load_state_dict(torch.load(file, weights_only=True)['state_dict'])


def test_missing_public_weights_are_refused(tmp_path):
    cfg, file = save_private_side(tmp_path)
    (tmp_path / 'public0.pth').unlink()
    with pytest.raises(MissingFileError, match='public0.pth does not exist'):
        MODELS.build(cfg.model).load_state_dict(torch.load(file, weights_only=True)['state_dict'])


def test_a_backbone_without_public_weights_is_refused(tmp_path):
    cfg, file = save_private_side(tmp_path)
    cfg.model.backbone = dict(BACKBONE)
    model = MODELS.build(cfg.model)
    with pytest.raises(ConfigError, match='its configuration names none'):
        model.init_weights()
    with pytest.raises(ConfigError, match='its configuration names none'):
        model.load_state_dict(torch.load(file, weights_only=True)['state_dict'])


def test_a_whole_checkpoint_must_have_the_public_backbone(tmp_path):
    """Else what is saved next, without the backbone, would be loaded beside another one."""
    cfg, file = save_private_side(tmp_path)
    model = MODELS.build(cfg.model)
    model.load_state_dict(torch.load(file, weights_only=True)['state_dict'])
    public = {f'backbone.{name}': one for name, one in model.backbone.state_dict().items()}
    whole = {**model.state_dict(), **public}
    again = MODELS.build(cfg.model)
    again.load_state_dict(whole)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(model.eval()(image), again.eval()(image))
    other = MODELS.build(dict(cfg.model, type='EncoderDecoder')).state_dict()
    with pytest.raises(ConfigError, match='but got others: conv1.weight'):
        again.load_state_dict(other, strict=False)


def test_a_file_that_lacks_weights_is_refused(tmp_path):
    """mmengine only warns, and would leave a random backbone."""
    cfg = private_side_config(tmp_path)
    public = torch.load(tmp_path / 'public0.pth', weights_only=True)
    torch.save({f'backbone.{name}': one for name, one in public.items()}, tmp_path / 'public0.pth')
    with pytest.raises(ConfigError, match="are not in it, for example conv1.weight.*prefix='backbone.'"):
        MODELS.build(cfg.model).init_weights()
    cfg.model.backbone.init_cfg.prefix = 'backbone.'
    MODELS.build(cfg.model).init_weights()


BACKBONES = {
    'MobileNetV2': dict(type='MobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6)),
    'MixVisionTransformer': dict(
        type='MixVisionTransformer', embed_dims=8, num_heads=[1, 1, 1, 1], num_layers=[1, 1, 1, 1]
    ),
    'VisionTransformer': dict(
        type='VisionTransformer', img_size=(64, 64), patch_size=16, embed_dims=32, num_layers=4, num_heads=2,
        out_indices=(0, 1, 2, 3), final_norm=True,
    ),
    'SwinTransformer': dict(type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)),
    'mmpretrain.ConvNeXt': dict(
        type='mmpretrain.ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[8, 16, 24, 32]),
        out_indices=(0, 1, 2, 3), gap_before_final_norm=False,
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', BACKBONES)
def test_other_backbones(name, tmp_path):
    if name.startswith('mmpretrain'):
        pytest.importorskip('mmpretrain.models', reason='mmpretrain, which has this backbone, is not installed')
    settings = BACKBONES[name]
    plain = MODELS.build(settings)
    channels = [feature.shape[1] for feature in plain(torch.rand(1, 3, 64, 64))]
    torch.save(plain.state_dict(), tmp_path / 'public.pth')
    cfg = private_side_config(tmp_path)
    cfg.model.backbone = dict(settings, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'public.pth')))
    cfg.model.neck.in_channels, cfg.model.decode_head.in_channels = channels, channels[-1]
    model = built(cfg)
    assert same(backbone_of(model), plain.state_dict())
    again = MODELS.build(cfg.model)
    again.load_state_dict(model.state_dict())
    assert same(backbone_of(again), plain.state_dict())
