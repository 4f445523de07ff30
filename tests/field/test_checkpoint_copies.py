"""Checkpoints that users average, shrink, rename, cut or convert before they load them."""

import copy
import runpy
import time
from pathlib import Path

import mmseg
import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner.checkpoint import _load_checkpoint_to_model, load_checkpoint
from torch import nn

from helpers.pairs import PAIRS, tied_pair, zeroed
from helpers.segmentors import assert_same, build, keyed_config, logits, pair, photo, plain_config
from mmseg_keyprotect.errors import ConfigError, WrongKeyError

IMAGES = [photo((64, 64), seed=1), photo((64, 64), seed=2)]


def save(model, path, prefix=''):
    torch.save(dict(state_dict={f'{prefix}{name}': value for name, value in model.state_dict().items()}), path)
    return str(path)


@pytest.mark.parametrize('momentum', [0.5, 0.9, 0.99, 0.996, 0.999, 0.9996, 0.9998, 0.9999])
class TestMeanTeacher:
    """hnuzhy/SSDA-YOLO#21: the teacher averages every entry of the state dict, integers too."""

    def test_averaged_and_loaded_at_every_step(self, momentum, key_file):
        plain, student = tied_pair()
        teacher = copy.deepcopy(student)
        for _ in range(3):
            own, new = teacher.state_dict(), student.state_dict()
            teacher.load_state_dict({name: momentum * own[name] + (1 - momentum) * new[name] for name in own})
        assert_same(plain, teacher, *IMAGES)
        copy.deepcopy(student).load_state_dict(teacher.state_dict())

    def test_averaged_in_place(self, momentum, key_file):
        """Lightning-AI/pytorch-lightning#20545: with buffers, as timm's ModelEmaV2 does it."""
        plain, student = pair()
        teacher = copy.deepcopy(student)
        for _ in range(3):
            for own, new in zip(teacher.state_dict().values(), student.state_dict().values(), strict=True):
                own.copy_(momentum * own + (1 - momentum) * new)
        fresh = zeroed(student)
        fresh.load_state_dict(teacher.state_dict())
        assert_same(plain, fresh, *IMAGES)


@pytest.mark.parametrize('kind', PAIRS)
def test_mean_of_three_checkpoints(kind, key_file):
    """NVIDIA-NeMo/Skills#110: a script that averages checkpoints entry by entry."""
    plain, keyed = PAIRS[kind]()
    states = [copy.deepcopy(keyed.state_dict()) for _ in range(3)]
    mean = {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}
    fresh = zeroed(keyed)
    fresh.load_state_dict(mean)
    got, expected = logits(fresh, IMAGES), logits(plain, IMAGES)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('kind', PAIRS)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_the_size(dtype, kind, key_file):
    """foundation-model-stack/fms-hf-tuning#614: all floating point entries are stored in 16 bits.

    The error is of the order of the plain model's.
    """
    plain, keyed = PAIRS[kind]()
    expected, errors = logits(plain, IMAGES), []
    for model in (plain, keyed):
        half = {n: v.to(dtype) if v.is_floating_point() else v for n, v in model.state_dict().items()}
        fresh = zeroed(model)
        fresh.load_state_dict(half)
        errors.append(float((logits(fresh, IMAGES) - expected).abs().max()))
    assert errors[0] > 0
    assert errors[1] < 5 * errors[0]


def test_another_mean_is_refused_in_16_bits_too(key_file):
    _, keyed = pair()
    state = {n: v.bfloat16() if v.is_floating_point() else v for n, v in keyed.state_dict().items()}
    state['backbone.conv1.mean'] = state['backbone.conv1.mean'] + 2
    with pytest.raises(ConfigError, match='normalised with mean'):
        keyed.load_state_dict(state)


class TestPrefix:
    """Abe404/root_painter#184 and pytorch/pytorch#3805: a checkpoint of a model in DataParallel."""

    def test_mmengine_takes_it_off(self, key_file, tmp_path):
        plain, keyed = tied_pair()
        fresh = zeroed(keyed)
        load_checkpoint(fresh, save(keyed, tmp_path / 'parallel.pth', 'module.'), strict=True)
        assert_same(plain, fresh, *IMAGES)

    def test_a_wrapped_model_loads_it(self, key_file):
        plain, keyed = pair()
        fresh = nn.DataParallel(zeroed(keyed))
        fresh.load_state_dict(nn.DataParallel(keyed).state_dict())
        assert_same(plain, fresh.module, *IMAGES)

    def test_the_error_speaks_of_the_names(self, key_file):
        _, keyed = pair()
        with pytest.raises(WrongKeyError, match=r'take a prefix such as `module\.` off'):
            keyed.load_state_dict({f'module.{name}': value for name, value in keyed.state_dict().items()})


def test_the_averaged_weights_in_a_checkpoint(key_file):
    """open-mmlab/mmengine#1678: `ema_state_dict` is evaluated on its own."""
    plain, keyed = tied_pair()
    state = ExponentialMovingAverage(keyed, momentum=0.5).state_dict()
    fresh = zeroed(keyed)
    _load_checkpoint_to_model(fresh, dict(state_dict=state), strict=False)
    assert_same(plain, fresh, *IMAGES)


@pytest.mark.parametrize('kind', PAIRS)
def test_another_number_of_classes(kind, key_file, tmp_path):
    """open-mmlab/mmsegmentation#2156 and #3778: the head's last layer is left out, everything else is loaded."""
    _, keyed = PAIRS[kind]()
    cfg = plain_config()
    cfg['decode_head']['num_classes'] = 3
    fresh = build(keyed_config(cfg))
    path = save(keyed, tmp_path / 'five.pth')
    load_checkpoint(fresh, path)
    expected, got = keyed.state_dict(), fresh.state_dict()
    assert got.keys() == expected.keys()
    differ = {name for name in got if got[name].shape != expected[name].shape}
    assert differ == {'decode_head.conv_seg.weight', 'decode_head.conv_seg.bias'}
    assert all(torch.allclose(got[name], expected[name]) for name in got.keys() - differ)
    with pytest.raises(RuntimeError, match=r'size mismatch for decode_head\.conv_seg\.weight'):
        load_checkpoint(fresh, path, strict=True)


FOUR = dict(mean=[100.0, 110.0, 120.0, 130.0], std=[50.0, 60.0, 55.0, 50.0])


@pytest.mark.parametrize('tied', [False, True])
class TestFourChannels:
    """open-mmlab/mmengine#776 and open-mmlab/mmsegmentation#667: weights for RGB in a model of four channels."""

    def models(self, tied):
        cfg = plain_config(norm=FOUR, in_channels=4)
        keyed = keyed_config(cfg)
        keyed['block_stem']['tied'] = tied
        return build(cfg), build(keyed)

    def test_the_first_layer_of_rgb_is_left_out_and_named(self, tied, key_file, capsys):
        source = build(plain_config()).state_dict()
        _, keyed = self.models(tied)
        before = keyed.stem.weight.detach().clone()
        state = {**source, 'data_preprocessor.protection': keyed.data_preprocessor.protection}
        _load_checkpoint_to_model(keyed, dict(state_dict=state))
        assert torch.equal(keyed.stem.weight, before)
        assert 'size mismatch for backbone.conv1.weight' in capsys.readouterr().out
        assert torch.equal(keyed.backbone.bn1.weight, source['backbone.bn1.weight'])

    def test_a_fourth_channel_that_is_the_mean(self, tied, key_file):
        plain, keyed = self.models(tied)
        plain.backbone.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
        source = build(plain_config()).state_dict()
        weight = source['backbone.conv1.weight']
        source['backbone.conv1.weight'] = torch.cat([weight, weight.mean(1, keepdim=True)], 1)
        plain.load_state_dict(source)
        keyed.load_state_dict({**source, 'data_preprocessor.protection': keyed.data_preprocessor.protection})
        images = [photo((64, 64), 4, seed) for seed in (1, 2)]
        torch.testing.assert_close(logits(keyed, images), logits(plain, images), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize('kind', PAIRS)
def test_assigned_instead_of_copied(kind, key_file):
    """safetensors/safetensors#469 wants contiguous tensors; loaders of such files assign them, instead of copying."""
    plain, keyed = PAIRS[kind]()
    fresh = zeroed(keyed)
    fresh.load_state_dict(keyed.state_dict(), assign=True)
    assert_same(plain, fresh, *IMAGES)
    assert fresh.stem.weight.requires_grad
    assert all(value.is_contiguous() for value in keyed.state_dict().values())


def test_published(key_file, tmp_path, monkeypatch):
    """open-mmlab/mmcv#1140: MMSegmentation's publish_model.py keeps the weights, and the name of the key."""
    plain, keyed = tied_pair()
    path = tmp_path / 'model.pth'
    torch.save(dict(state_dict=keyed.state_dict(), optimizer=dict(state={})), path)
    script = Path(mmseg.__file__).parent / '.mim' / 'tools' / 'misc' / 'publish_model.py'
    monkeypatch.setattr('sys.argv', [str(script), str(path), str(tmp_path / 'published.pth')])
    runpy.run_path(str(script), run_name='__main__')
    until = time.monotonic() + 600
    while not (found := list(tmp_path.glob('published-*.pth'))) and time.monotonic() < until:
        time.sleep(0.01)  # the script renames its file in another process
    (published,) = found
    assert 'optimizer' not in torch.load(published)
    fresh = zeroed(keyed)
    load_checkpoint(fresh, str(published), strict=True)
    assert_same(plain, fresh, *IMAGES)


@pytest.mark.parametrize('size', [32, 96])
def test_position_embeddings_of_another_image_size(size, key_file, tmp_path):
    """open-mmlab/mmsegmentation#3774: a pretrained ViT for other images is resized, with and without protection."""
    torch.manual_seed(0)
    source = build(plain_config('ViT', img_size=size)).backbone
    torch.save(source.state_dict(), tmp_path / 'vit.pth')
    cfg = plain_config('ViT', init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'vit.pth')))
    cipher = [dict(type='Shuffle', block_size=16), dict(type='NegativePositive', block_size=16)]
    models = [build(cfg), build(keyed_config(cfg, cipher))]
    for model in models:
        model.init_weights()
    plain, keyed = (model.backbone.pos_embed for model in models)
    assert torch.equal(plain, keyed)
    plain, keyed = models
    keyed.decode_head.load_state_dict(plain.decode_head.state_dict())
    plain.backbone.register_forward_pre_hook(lambda module, inputs: (inputs[0].double(),))
    torch.testing.assert_close(logits(keyed, IMAGES), logits(plain, IMAGES), atol=1e-6, rtol=1e-5)
