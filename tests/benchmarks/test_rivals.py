"""Published protections, re-implemented: exact with the key, broken without, and attacks with their controls."""

import copy

import pytest
import torch
from torch import nn

from benchmarks.paper.rivals import RIVALS
from benchmarks.paper.rivals.base import depthwise, filled, hidden_bytes, units
from benchmarks.paper.rivals.deepipr import PassportNorm, Passports
from benchmarks.paper.rivals.groupcover import GROUP, MixedKernels, unmixed
from benchmarks.paper.rivals.hpnn import GainSigns, KernelSigns, bits_beside, bits_of_gains
from benchmarks.paper.rivals.nnsplitter import EACH, ROUNDS, HiddenWeights, restored_beside, restored_outliers
from benchmarks.paper.rivals.outsourced import gathered, scatter
from benchmarks.paper.rivals.shadownet import ShuffledKernels, unshuffled

NORM = dict(type='BN', requires_grad=True)
EXACT = [name for name in RIVALS if name != 'deepipr']


def build(head='DepthwiseSeparableASPPHead'):
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    init_default_scope('mmseg')
    torch.manual_seed(0)
    head = dict(
        type=head, in_channels=80, in_index=3, channels=16, dilations=(1, 2), c1_in_channels=8, c1_channels=8,
        num_classes=4, norm_cfg=NORM, align_corners=False, dropout_ratio=0.0,
        loss_decode=dict(type='CrossEntropyLoss'),
    )  # fmt: skip
    backbone = dict(type='MobileNetV2', widen_factor=0.25, out_indices=(1, 2, 4, 6), norm_cfg=NORM)
    model = MODELS.build(
        dict(type='EncoderDecoder', data_preprocessor=dict(type='SegDataPreProcessor'), backbone=backbone,
             decode_head=head, train_cfg=dict(), test_cfg=dict(mode='whole'))
    )  # fmt: skip
    image = torch.randn(4, 3, 64, 64)
    for norm in (module for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        norm.momentum = None
        if norm.affine:
            nn.init.uniform_(norm.weight, 0.8, 1.2)
            nn.init.normal_(norm.bias, std=0.2)
    model.train()(image, mode='tensor')  # statistics as a training leaves them
    return model.eval()


@pytest.fixture(scope='module')
def model():
    return build()


@pytest.fixture(scope='module')
def data():
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    torch.manual_seed(1)
    samples = []
    for _ in range(2):
        sample = SegDataSample(metainfo=dict(img_shape=(64, 64)))
        sample.gt_sem_seg = PixelData(data=torch.randint(4, (1, 64, 64)))
        samples.append(sample)
    return [dict(inputs=torch.randn(2, 3, 64, 64), data_samples=samples)]


@torch.no_grad()
def outputs(model):
    torch.manual_seed(2)
    return model.eval()(torch.randn(2, 3, 64, 64), mode='tensor')


def distance(got, expected):
    return float((got - expected).abs().max() / expected.abs().max())


def nearby(weights, share=0.02):
    """Weights that differ a little, as those of a public model do from those that began with them."""
    return {
        name: value + share * value.std() * torch.randn_like(value) if value.is_floating_point() and value.dim() > 1
        else value.clone()
        for name, value in weights.items()
    }  # fmt: skip


@pytest.mark.parametrize('name', EXACT)
def test_exact_with_the_key_and_broken_without(name, model, data):
    torch.manual_seed(3)
    rival, before = RIVALS[name](), outputs(model)
    file, secret = rival.protect(model, data)
    blank = build()
    for module in blank.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.1)
    assert torch.equal(outputs(model), before), 'the model of the owner is left unchanged'
    assert distance(outputs(rival.with_key(blank, file, secret)), before) < 1e-4
    assert distance(outputs(rival.alone(blank, file)), before) > 0.1
    assert 0 < hidden_bytes(secret) < sum(value.nbytes for value in file.values())


@pytest.mark.parametrize('name', EXACT)
def test_a_wrong_key_does_not_open(name, model, data):
    torch.manual_seed(3)
    rival = RIVALS[name]()
    file, secret = rival.protect(model, data)
    wrong = {word: value if word.endswith('/places') else value.flip(0) for word, value in secret.items()}
    assert distance(outputs(rival.with_key(model, file, wrong)), outputs(model)) > 0.1


def test_signs_in_gains_are_read_off_and_those_in_kernels_are_not(model, data):
    for kind, right in ((GainSigns, True), (KernelSigns, False)):
        file, bits = kind().protect(model, data)
        found = bits_of_gains(file, bits)
        assert all(torch.equal(found[name], bits[name]) for name in bits) is right
        assert right or not any(one.any() for one in found.values())


def test_signs_beside_a_public_model(model, data):
    file, bits = KernelSigns().protect(model, data)
    found = bits_beside(file, nearby(model.state_dict()), bits)
    assert all(torch.equal(found[name], bits[name]) for name in bits)
    strange = {name: torch.randn_like(value) for name, value in file.items() if value.dim() > 1}
    found = bits_beside(file, strange, bits)
    right = torch.cat([found[name] == bits[name] for name in bits]).float().mean()
    assert 0.4 < right < 0.6, 'an unrelated model reveals nothing'


@pytest.mark.parametrize('optimizer', [torch.optim.AdamW, torch.optim.SGD])
def test_training_with_signs_is_training_without_them(optimizer):
    """So a model whose signs are absorbed in the end is one that was trained with them."""
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 2, 1))
    locked = copy.deepcopy(plain)
    signs = torch.tensor([1.0, -1] * 4)
    with torch.no_grad():
        locked[0].weight *= signs.view(-1, 1, 1, 1)
        locked[1].bias *= signs
    locked[1].register_forward_hook(lambda _, __, output: output * signs.view(1, -1, 1, 1))
    optimizers = [optimizer(one.parameters(), lr=0.01, weight_decay=0.01) for one in (plain, locked)]
    for _ in range(20):
        image, label = torch.randn(4, 3, 8, 8), torch.randint(2, (4, 6, 6))
        losses = [nn.functional.cross_entropy(one(image), label) for one in (plain, locked)]
        for loss, one in zip(losses, optimizers, strict=True):
            one.zero_grad()
            loss.backward()
            one.step()
    assert torch.allclose(losses[0], losses[1], rtol=1e-4)
    assert torch.allclose(plain[0].weight, locked[0].weight * signs.view(-1, 1, 1, 1), atol=1e-4)
    assert not torch.allclose(plain[0].weight, locked[0].weight, atol=1e-2)


def test_hidden_weights_are_few_and_restored_beside_a_public_model(model, data):
    torch.manual_seed(3)
    file, secret = HiddenWeights().protect(model, data)
    true = model.state_dict()
    wrong = {name: file[name] != true[name] for name in file if name.endswith('.conv.weight')}
    hidden = sum(len(value) for name, value in secret.items() if name.endswith('/places'))
    assert sum(int(one.sum()) for one in wrong.values()) <= hidden == ROUNDS * EACH
    assert all(true[name].min() <= file[name].min() and file[name].max() <= true[name].max() for name in wrong)
    public = nearby(true)
    found = restored_beside(file, public)
    error = [sum(float((one[name] - true[name]).square().sum()) for name in wrong) for one in (file, found)]
    assert error[1] < error[0] / 10
    clean = restored_beside(true, public)
    assert all(torch.equal(clean[name], true[name]) for name in wrong), 'nothing is hidden, so nothing is found'


def test_outliers_are_replaced_by_medians():
    kernels = torch.randn(8, 1, 5, 5) * 0.1
    kernels[2, 0, 1, 1] = 3.0
    found = restored_outliers({'a.conv.weight': kernels}, ['a.conv.weight'], 8.0)['a.conv.weight']
    assert (found != kernels).sum() == 1
    assert abs(found[2, 0, 1, 1]) < 0.1
    assert torch.equal(restored_outliers({'a.conv.weight': kernels}, [], 8.0)['a.conv.weight'], kernels)


@pytest.mark.parametrize(
    ('hide', 'recover'),
    [(scatter, gathered), (ShuffledKernels().obfuscate, unshuffled), (MixedKernels().obfuscate, unmixed)],
)
def test_kernels_beside_a_public_model(hide, recover):
    torch.manual_seed(0)
    kernels = torch.randn(48, 40)
    file, _ = hide(kernels)

    def error(public):
        found, _ = recover(file, public)
        return float(((found - kernels).norm(dim=1) / kernels.norm(dim=1)).mean())

    public = kernels + 0.1 * torch.randn_like(kernels)
    assert error(public) < 0.06 < 0.09 < float(((public - kernels).norm(dim=1) / kernels.norm(dim=1)).mean())
    assert error(torch.randn_like(kernels)) > 0.8, 'an unrelated model reveals nothing'
    found, _ = recover(torch.randn_like(file), public)
    assert float(((found - kernels).norm(dim=1) / kernels.norm(dim=1)).mean()) > 0.5, 'the file reveals it, not chance'


def test_groups_are_found_beside_a_public_model():
    torch.manual_seed(0)
    kernels = torch.randn(64, 24)
    file, secret = MixedKernels().obfuscate(kernels)
    true = secret['places'] // GROUP
    assert (unmixed(file, kernels + 0.05 * torch.randn_like(kernels))[1] == true).float().mean() > 0.95
    assert (unmixed(file, torch.randn_like(kernels))[1] == true).float().mean() < 0.4, 'one in eight by chance'


@pytest.mark.parametrize('kind', [ShuffledKernels, MixedKernels])
def test_a_whole_model_is_recovered_beside_a_public_one(kind, model, data):
    torch.manual_seed(3)
    rival, blank = kind(), build()
    file, _ = rival.protect(model, data)
    public = nearby(model.state_dict(), 0.01)
    opened = outputs(rival.alone(blank, rival.beside(blank, file, public)))
    assert distance(opened, outputs(model)) < 0.5
    assert distance(outputs(rival.alone(blank, file)), outputs(model)) > 0.9
    half = {name: value for name, value in public.items() if name.startswith('backbone')}
    kept = rival.beside(blank, file, half)
    head = next(f'{name}.conv.weight' for name, unit in units(model) if 'head' in name and not depthwise(unit))
    assert torch.equal(kept[head], file[head]), 'what the public model lacks stays as it is'


def test_passports_open_and_their_absence_does_not():
    model = build('PassportHead')
    rival, blank = Passports(), build()
    file, secret = rival.protect(model, [])
    assert set(secret) == {
        f'decode_head.{name}' for name, norm in model.decode_head.named_modules() if isinstance(norm, PassportNorm)
    }
    assert distance(outputs(rival.with_key(blank, file, secret)), outputs(model)) < 1e-5
    assert distance(outputs(rival.alone(blank, file)), outputs(model)) > 0.3
    forged = {name: torch.randn_like(value) for name, value in secret.items()}
    assert distance(outputs(rival.with_key(blank, file, forged)), outputs(model)) > 0.3


def test_the_signature_is_learned(data):
    model = build('PassportHead').train()
    norms = [norm for norm in model.decode_head.modules() if isinstance(norm, PassportNorm)]
    optimizer = torch.optim.AdamW(model.decode_head.parameters(), lr=1e-2)
    before = sum(norm.signature_loss().item() for norm in norms)
    for _ in range(20):
        loss = model.parse_losses(model(**data[0], mode='loss'))[0]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert sum(norm.signature_loss().item() for norm in norms) < before / 3


def test_a_file_with_more_kernels_fills_a_model_with_the_first(model):
    name = next(f'{name}.conv.weight' for name, _ in units(model))
    own = model.state_dict()[name]
    longer = torch.cat([own + 1, own])
    assert torch.equal(filled(model, {name: longer}).state_dict()[name], own + 1)
    assert torch.equal(model.state_dict()[name], own)
