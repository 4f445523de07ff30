"""Learning rates and weight decay by name, frozen stages, clipped and accumulated gradients."""

import contextlib
import copy
import io

import pytest
import torch
from mmengine.optim import build_optim_wrapper

from helpers.pairs import PAIRS, labelled, tied_pair
from helpers.segmentors import cipher_config, need, pair, photo

ADAMW = dict(type='AdamW', lr=0.01, weight_decay=0.01)
BY_NAME = dict(
    custom_keys={'backbone': dict(lr_mult=0.1), 'head': dict(lr_mult=10.0), 'conv1': dict(lr_mult=0.5, decay_mult=0.0)},
    norm_decay_mult=0.0,
    bias_lr_mult=2.0,
)
DECAYED = dict(decay_rate=0.9, decay_type='stage_wise', num_layers=6)


def groups(model, **options):
    """Return the learning rate and the weight decay of every parameter that the optimizer gets, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    with contextlib.redirect_stdout(io.StringIO()):
        optimizer = build_optim_wrapper(model, dict(type='OptimWrapper', optimizer=ADAMW, **options)).optimizer
    return {
        names.get(id(parameter), 'another'): (group['lr'], group['weight_decay'])
        for group in optimizer.param_groups
        for parameter in group['params']
    }


@pytest.mark.parametrize('kind', PAIRS)
def test_custom_keys(kind, key_file):
    """open-mmlab/mmsegmentation#25 and #2239: a small rate for the backbone, a large one for the head.

    A free stem has a bias, which follows the same keys as its weight.
    """
    plain, keyed = PAIRS[kind]()
    expected, got = (groups(model, paramwise_cfg=BY_NAME) for model in (plain, keyed))
    assert expected['backbone.conv1.weight'] == pytest.approx((0.001, 0.01))
    assert expected['decode_head.conv_seg.weight'][0] == pytest.approx(0.1)
    if kind == 'free':
        assert got.pop('backbone.conv1.bias') == got['backbone.conv1.weight']
    assert got == expected


@pytest.mark.parametrize('kind', PAIRS)
def test_learning_rates_that_decay_by_stage(kind, key_file):
    """open-mmlab/mmsegmentation#1438: the learning rate decays by stage, which names tell."""
    need('ConvNeXt')
    import mmseg.engine  # noqa: F401

    plain, keyed = PAIRS[kind]('ConvNeXt')
    options = dict(constructor='LearningRateDecayOptimizerConstructor', paramwise_cfg=DECAYED)
    expected, got = (groups(model, **options) for model in (plain, keyed))
    assert len(set(expected.values())) > 4
    assert got == expected


FROZEN = {
    'ResNet': dict(frozen_stages=1),
    'MobileNetV2': dict(frozen_stages=1),
    'Swin': dict(frozen_stages=1),
    'ViT': dict(frozen_exclude=['pos_embed']),
}


@pytest.mark.parametrize('kind', PAIRS)
@pytest.mark.parametrize('name', FROZEN)
def test_frozen_stages(name, kind, key_file):
    """open-mmlab/mmsegmentation#2490, #3309 and open-mmlab/mmdetection#10881: what is frozen stays as it is."""
    cipher = cipher_config(block_size=16) if name == 'ViT' else None
    plain, keyed = PAIRS[kind](name, cipher, **FROZEN[name])
    plain.train(), keyed.train()
    expected, got = ({n for n, p in model.named_parameters() if p.requires_grad} for model in (plain, keyed))
    assert keyed.block_stem not in {n.rpartition('.')[0].removeprefix('backbone.') for n in got}
    assert got == expected
    before = {n: p.detach().clone() for n, p in keyed.named_parameters()}
    optimizer = torch.optim.AdamW([p for p in keyed.parameters() if p.requires_grad], lr=0.1, weight_decay=0.1)
    sum(p.sum() for p in keyed.parameters() if p.requires_grad).backward()
    optimizer.step()
    changed = {n for n, p in keyed.named_parameters() if not torch.equal(p, before[n])}
    assert changed == expected


def train(model, wrapper, steps=4):
    """Train on the same batches for a few steps, and return the losses."""
    model = copy.deepcopy(model).train()
    optimizer = build_optim_wrapper(model, dict(type='OptimWrapper', **wrapper))
    losses = []
    for step in range(steps):
        labels = torch.arange(64 * 64).reshape(1, 64, 64) % 5
        torch.manual_seed(step)  # of the dropout
        batch = labelled(model, [photo((64, 64), seed=step), photo((64, 64), seed=step + 9)], [labels, labels.flip(1)])
        loss, _ = model.parse_losses(model(**batch, mode='loss'))
        optimizer.update_params(loss)
        losses.append(float(loss.detach()))
    return losses


WRAPPERS = {
    'open-mmlab/mmsegmentation#2425': dict(
        optimizer=dict(type='AdamW', lr=0.001, weight_decay=0.05), clip_grad=dict(max_norm=0.01, norm_type=2)
    ),
    'open-mmlab/mmengine#1083': dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9), accumulative_counts=2),
}


@pytest.mark.parametrize('report', WRAPPERS)
def test_a_tied_stem_trains_as_the_plain_model(report, key_file):
    """open-mmlab/mmsegmentation#2425 clips gradients, open-mmlab/mmengine#1083 accumulates them."""
    plain, keyed = tied_pair()
    expected, got = (train(model, WRAPPERS[report]) for model in (plain, keyed))
    assert abs(expected[-1] - expected[0]) > 1e-4
    assert got == pytest.approx(expected, abs=1e-9)


def test_equal_seeds_give_equal_trainings(key_file):
    """open-mmlab/mmsegmentation#3418 and #3795: the encryption draws no random numbers."""
    _, keyed = pair()
    wrapper = dict(optimizer=dict(type='AdamW', lr=0.001))
    first = train(keyed, wrapper)
    assert train(keyed, wrapper) == first
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    keyed.data_preprocessor(dict(inputs=[photo((64, 64))]))
    assert torch.equal(torch.rand(4), expected)
