"""Users who look into a model: CAMs, feature maps, distillation, cost."""

import copy

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmseg.structures import SegDataSample

from helpers.pairs import PAIRS, as_float32, features_pair, prepared
from helpers.segmentors import as_double, pair, photo
from mmseg_keyprotect.errors import ImageFormatError

IMAGES = [photo((64, 64), seed=1), photo((64, 64), seed=2)]
KINDS = {**PAIRS, 'features': features_pair}


def outputs(model, names, images=IMAGES):
    """Return the logits, and what the modules of these names of the backbone give, with their gradients kept."""
    found, hooks = {}, []
    for name in names:
        module = model.backbone.get_submodule(name)
        hooks.append(module.register_forward_hook(lambda _, __, output, name=name: found.__setitem__(name, output)))
    result = model(prepared(model, images))
    for hook in hooks:
        hook.remove()
    for output in found.values():
        output.retain_grad()
    return result, found


def models(kind):
    plain, keyed = KINDS[kind]()
    plain = copy.deepcopy(plain)
    plain.backbone._forward_pre_hooks.clear()
    plain.backbone.register_forward_pre_hook(as_double)
    return plain, keyed


@pytest.mark.parametrize('kind', KINDS)
def test_class_activation_maps(kind, key_file):
    """open-mmlab/mmsegmentation#3324 and #1726: Grad-CAM weighs channels by their gradients, in any order."""
    maps = []
    for model in models(kind):
        result, found = outputs(model, ['conv1', 'layer2', 'layer4'])
        result[:, 1].sum().backward()
        maps.append({n: (a * a.grad.mean((-2, -1), keepdim=True)).sum(1).detach() for n, a in found.items()})
    expected, got = maps
    for name in expected:
        assert expected[name].abs().max() > 0
        torch.testing.assert_close(got[name], expected[name], atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_feature_maps_that_are_drawn(kind, key_file):
    """open-mmlab/mmsegmentation#2434 and #3234: the mean over the channels, as `draw_featmap` shows it."""
    means = [{name: a.mean(1).detach() for name, a in outputs(m, ['bn1', 'layer3'])[1].items()} for m in models(kind)]
    torch.testing.assert_close(means[1], means[0], atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_a_student_of_a_plain_teacher(kind, key_file):
    """open-mmlab/mmrazor#367 and #572: recorders read modules by name, and compare them element by element.

    The output of a stage is in the order of the plain model, with encrypted feature maps too.
    """
    plain, keyed = models(kind)
    names = ['layer1', 'layer4'] if kind == 'features' else ['conv1', 'bn1', 'layer1', 'layer4']
    expected, got = (outputs(model, names)[1] for model in (plain, keyed))
    assert expected['layer1'].std() > 1e-2
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-6)


def test_inside_a_stage_encrypted_channels_have_another_order(key_file):
    """open-mmlab/mmrazor#572: a recorder inside a stage reads the channels in the order of the key."""
    plain, keyed = models('features')
    expected, got = (outputs(model, ['bn1'])[1]['bn1'].detach() for model in (plain, keyed))
    assert not torch.allclose(got, expected)
    expected, got = (a.square().sum((0, 2, 3)).sort().values for a in (expected, got))
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-9)


class TestCost:
    """open-mmlab/mmsegmentation#2672 and #3581: floating point operations and parameters."""

    @pytest.mark.parametrize('kind', PAIRS)
    def test_counted_on_the_input_of_the_network(self, kind, key_file):
        plain, keyed = (as_float32(model) for model in PAIRS[kind]())
        keyed.untie()
        x = prepared(plain, IMAGES[:1]).float()
        expected, got = (
            get_model_complexity_info(model, inputs=(x,), show_table=False, show_arch=False) for model in (plain, keyed)
        )
        assert expected['flops'] < got['flops'] < 2 * expected['flops']
        stem, conv = (sum(p.numel() for p in model.backbone.conv1.parameters()) for model in (keyed, plain))
        assert got['params'] - expected['params'] == stem - conv

    def test_a_random_image_from_0_to_1_is_refused_by_name(self, key_file):
        """get_flops.py gives `torch.rand` to the preprocessor, which the plain one takes."""
        plain, keyed = (as_float32(model) for model in pair())
        batch = dict(inputs=[torch.rand(3, 64, 64)], data_samples=[SegDataSample()])
        plain.data_preprocessor(copy.deepcopy(batch))
        with pytest.raises(ImageFormatError, match='divided by 255'):
            keyed.data_preprocessor(batch)
