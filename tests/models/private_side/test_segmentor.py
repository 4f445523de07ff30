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
    with pytest.raises(ConfigError, match='trained beside, but got others'):
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


def test_a_checkpoint_with_a_backbone_is_taken_as_it_is(tmp_path):
    """So that a plain model can be the start of a private side."""
    cfg = private_side_config(tmp_path)
    plain = MODELS.build(dict(cfg.model, type='EncoderDecoder'))
    model = MODELS.build(cfg.model)
    model.load_state_dict(plain.state_dict(), strict=False)
    assert same(backbone_of(model), backbone_of(plain))
