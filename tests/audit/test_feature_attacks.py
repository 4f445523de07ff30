"""Attacks on the key of feature maps, on planted networks in which each must succeed."""

import copy

import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from torch import nn

from helpers.planted import cipher_of
from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.channel_fit import Arrangement, ChannelFit, Memory
from mmseg_keyprotect.audit.estimators.channel_search import find_order
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.ciphers.feature_ciphers import FeatureStep
from mmseg_keyprotect.models.features.binding import bind_features
from mmseg_keyprotect.models.features.encryption import FeatureEncryption, KeyedFeatures

SHUFFLE, SIGN = dict(type='FeatureShuffle', allow_weak=True), dict(type='FeatureSign', allow_weak=True)
BOTH = [SHUFFLE, SIGN]
RESNET = dict(type='ResNet', depth=18, base_channels=16, stem_channels=16)
BACKBONES = {
    'mit': dict(type='MixVisionTransformer', embed_dims=16, num_layers=[2, 2, 2, 2], num_heads=[1, 2, 5, 8]),
    'mobilenet': dict(type='MobileNetV2', out_indices=(1, 2, 4, 6)),
    'resnet18': RESNET,
    'resnet50': dict(RESNET, depth=50, base_channels=8, stem_channels=8),
    'vit': dict(type='VisionTransformer', img_size=64, patch_size=16, embed_dims=48, num_layers=3, num_heads=4),
}
ONE_STAGE = dict(BACKBONES['mit'], num_stages=1, out_indices=(0,))
ONE_STAGE |= dict(num_layers=[1], num_heads=[1], patch_sizes=[7], strides=[4], sr_ratios=[8])
SMALL = dict(RESNET, base_channels=8, stem_channels=8, num_stages=1, strides=(1,), dilations=(1,), out_indices=(0,))


class Network(nn.Module):
    """A backbone with encrypted feature maps, and a head."""

    def __init__(self, backbone, cipher, key, **places):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        for parameter in self.backbone.parameters():
            if parameter.ndim == 1:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
        self.public = copy.deepcopy(self.backbone.state_dict())
        self.feature_encryption = FeatureEncryption(self.backbone, cipher, key=key, **places)
        channels = self.feature_encryption.places[-1].channels
        self.head = nn.Sequential(nn.Conv2d(channels, 4 * channels, 1), nn.BatchNorm2d(4 * channels, momentum=None))

    def forward(self, images):
        return self.head(self.backbone(images)[-1])


class Stolen:
    """Such a network, stolen: its feature maps stay unchanged."""

    ignore_index, is_private_side = 255, False

    def __init__(self, network):
        self.model = copy.deepcopy(network)
        self.features = self.model.feature_encryption
        self.features.use(self.features.identity_functions)
        self.feature_cipher, self.feature_places = self.features.cipher, self.features.places

    @torch.no_grad()
    def logits(self, images, key, features=None):
        with self.features.using({name: KeyedFeatures([FeatureStep(one, 1)]) for name, one in features.items()}):
            return self.model(_tensor(images))


def target_of(network, public=False, count=2, taught=False):
    """Make a target of a network; the labels are what it says itself."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(count)]
    if taught:
        with torch.no_grad():
            network.eval().head.train()(network.backbone(_tensor(images))[-1])
    network.eval()
    said = [network(_tensor([image])).argmax(1)[0] for image in images]
    labels = [np.kron(one.numpy(), np.ones((4, 4))).astype(np.uint8) for one in said]
    weights = network.public if public else None
    return Target(
        None, AttackerData([], images, labels), Stolen(network), network.feature_encryption, public_weights=weights
    )


def _tensor(images):
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()).float() / 64 - 2


@pytest.fixture
def build(key):
    """A function that makes a network, with the key."""
    init_default_scope('mmseg')
    torch.manual_seed(0)
    return lambda backbone, cipher, **places: Network(backbone, cipher, key, **places)


def lively(network):
    """Let channels differ strongly, none of them silent, and predictions be sure."""
    backbone = network.backbone
    norm = backbone.layer1[-1].norm2 if hasattr(backbone, 'layer1') else backbone.layers[-1][-1]
    norm.weight.data *= torch.linspace(0.5, 3, len(norm.weight))
    norm.bias.data += torch.linspace(0.2, 3, len(norm.bias))
    network.head[1].weight.data *= 5
    return network


def attack(name, target, seconds=20.0):
    """Run an attack; return what it says, and the share of each part of the key."""
    result = ATTACKS[name]().attack(target, Budget(seconds))
    return result.sentence, {share.part: share for share in target.shares(result)}


CASES = [
    ('mit', BOTH, dict(stages='all')),
    ('mit', BOTH, dict(stages=(1, 3))),
    ('mit', SHUFFLE, dict(stages='all', blocks='all')),
    ('mobilenet', BOTH, dict(stages='all')),
    ('mobilenet', SIGN, dict(stages=(0, 3))),
    ('mobilenet', BOTH, dict(blocks='all')),
    ('resnet18', SHUFFLE, dict(stages='all')),
    ('resnet18', SHUFFLE, dict(blocks='all')),
    ('resnet50', SHUFFLE, dict(blocks='all')),
    ('vit', SHUFFLE, dict(stages=(0, 1))),
]


@pytest.mark.parametrize('tuned', [0.0, 0.02])
@pytest.mark.parametrize(('name', 'cipher', 'places'), CASES)
def test_the_public_model_shows_the_whole_key(name, cipher, places, tuned, build):
    """Also where the model was trained further, so that its weights are not quite the public ones."""
    network = build(BACKBONES[name], cipher, **places)
    with torch.no_grad():
        for value in network.backbone.parameters():
            value += tuned * value.abs().mean() * torch.randn_like(value)
    bind_features(network.backbone, network.feature_encryption)
    target = _quiet(network)
    result = ATTACKS['public-channels']().attack(target, Budget(20))
    shares = target.shares(result)
    assert shares
    least = 0.95 if tuned else 1  # where only a LayerNorm lies between two places, two numbers show a channel
    assert all(share.right >= least for share in shares), shares
    assert 'of the public model.' in result.sentence


def _quiet(network):
    """Make a target of which nothing but the weights is looked at."""
    data = AttackerData([], [])
    return Target(None, data, Stolen(network), network.feature_encryption, public_weights=network.public)


def test_places_that_follow_one_another_show_what_they_do_together(build):
    network = build(BACKBONES['resnet18'], SHUFFLE, stages=(3,), blocks='all')
    bind_features(network.backbone, network.feature_encryption)
    target = target_of(network, public=True)
    result = ATTACKS['public-channels']().attack(target, Budget(20))
    assert '1 places have no weight before the next place' in result.sentence
    expected = network(_tensor(target.data.plain))
    torch.testing.assert_close(target.attacked.logits(target.data.plain, None, result.features), expected)


def test_public_weights_of_something_else_are_said_to_be_of_no_use(build):
    target = _quiet(build(BACKBONES['resnet18'], SHUFFLE, stages='all'))
    target.public_weights = {'backbone.layer1.0.conv2.weight': torch.zeros(3)}
    with pytest.raises(NotApplicable, match='the public weights have none'):
        attack('public-channels', target)


SIGNED = [case for case in CASES if case[1] is not SHUFFLE]


@pytest.mark.parametrize(('name', 'cipher', 'places'), SIGNED)
def test_gains_show_all_signs(name, cipher, places, build):
    """Of each channel as the weights store it, whatever the order is."""
    network = build(BACKBONES[name], cipher, **places)
    bind_features(network.backbone, network.feature_encryption)
    target = _quiet(network)
    signs = target.shares(ATTACKS['norm-gain-signs']().attack(target, Budget(20)))[-1]
    if 'blocks' in places:  # the signs between two places need the order too
        assert signs.above_chance
    else:
        assert (signs.part, signs.right) == ('channel signs', 1)


def test_random_gains_show_nothing(build):
    network = build(BACKBONES['mit'], BOTH, stages='all')
    bind_features(network.backbone, network.feature_encryption)
    for _, _, norm in network.backbone.layers:
        norm.weight.data = torch.randn_like(norm.weight)
    target = _quiet(network)
    for share in target.shares(ATTACKS['norm-gain-signs']().attack(target, Budget(20))):
        assert not share.above_chance


@pytest.mark.parametrize(
    ('name', 'places'), [('vit', dict(stages=(0, 1))), ('vit', dict(blocks='all')), ('mit', dict(blocks='all'))]
)
@pytest.mark.parametrize('alike', [True, False])
def test_neighbouring_layers_show_the_order(alike, name, places, build):
    """Where the layers of a stream treat a channel alike; a control has layers of their own."""
    network = build(BACKBONES[name], SHUFFLE, **places)
    layers = network.backbone.layers
    streams = [layers] if name == 'vit' else [blocks for _, blocks, _ in layers]
    with torch.no_grad():
        for blocks in streams if alike else []:
            for block in blocks[1:]:
                for value, first in zip(block.parameters(), blocks[0].parameters(), strict=True):
                    value.copy_(first + 0.2 * value.std() * torch.randn_like(value) if value.numel() > 1 else first)
    bind_features(network.backbone, network.feature_encryption)
    target = _quiet(network)
    result = ATTACKS['neighbour-layers']().attack(target, Budget(60))
    (order,) = target.shares(result)
    assert order.above_chance == alike, order
    if alike and name == 'vit':
        assert order.right == 1 or ('blocks' in places and order.right >= 2 / 3)  # nothing follows the last block


def test_batch_norms_remember_the_order(build):
    """A network whose channels differ strongly, and whose head has seen the images."""
    network = lively(build(SMALL, SHUFFLE, stages='all'))
    target = target_of(network, count=4, taught=True)
    sentence, shares = attack('batch-norm-memory', target)
    assert sentence.startswith('stage=0: energy')
    assert shares['channel order'].right == 1


def test_batch_norms_remember_the_order_of_signed_channels(build):
    """The signs are read off the gains first, and undone before channels are measured."""
    network = build(ONE_STAGE, BOTH, stages='all')
    bind_features(lively(network).backbone, network.feature_encryption)
    _, shares = attack('batch-norm-memory', target_of(network, count=8, taught=True), 60)
    assert shares['channel signs'].right == 1
    assert shares['channel order'].right == 1


def test_batch_norms_where_the_attacker_has_all_images_plain(build):
    """No image is left to be encrypted, so nothing tells the key of images; the search goes on without."""
    target = target_of(lively(build(SMALL, SHUFFLE, stages='all')), count=4, taught=True)
    target = Target(cipher_of('shuffle'), target.data, target.attacked, target._features)
    assert target.lacks('encrypted images')
    found = ATTACKS['batch-norm-memory']().attack(target, Budget(20.0))
    assert found.sentence.startswith('stage=0: energy')
    assert found.key is None


def planted(rng, channels=24, outputs=96):
    """Make a memory, and the order that it keeps."""
    mean, mixing = rng.normal(size=channels) * 2, rng.normal(size=(channels, channels))
    covariance, weights = mixing @ mixing.T / channels, rng.normal(size=(outputs, channels))
    spreads = np.sqrt(((weights @ covariance) * weights).sum(1))
    source = rng.permutation(channels)
    stored = mean[source], covariance[np.ix_(source, source)]
    return Memory(weights / spreads[:, None], weights @ mean / spreads, outputs, *stored), np.argsort(source)


def test_search_of_a_planted_order():
    rng = np.random.default_rng(0)
    memory, order = planted(rng)
    found = find_order(memory, Budget(60), 60, rng)
    assert (found.source == order).all()
    assert found.agreed
    assert found.energy == pytest.approx(ChannelFit(memory).energy(order), abs=1e-3)


@pytest.mark.slow
def test_columns_alone_show_an_order():
    """Without a batch norm: readers whose columns are as alike as their channels are."""
    rng = np.random.default_rng(0)
    memory, order = planted(rng)
    plain = memory.covariance[np.ix_(order, order)]
    bare = Memory(np.zeros((0, 24)), np.zeros(0), 0, memory.mean, memory.covariance, [plain])
    assert (find_order(bare, Budget(60), 60, rng).source == order).all()


def test_search_without_information_says_so():
    """A control: the kept statistics are those of another map."""
    rng = np.random.default_rng(0)
    memory, order = planted(rng)
    right, (other, _) = ChannelFit(memory).energy(order), planted(rng)
    memory = Memory(other.weights, other.means, other.spread, memory.mean, memory.covariance)
    found = find_order(memory, Budget(5), 5, rng)
    assert (found.source == order).mean() < 0.25
    assert found.energy > right / 2  # both are negative


@pytest.mark.parametrize('seed', range(3))
def test_energies_of_swaps(seed):
    rng = np.random.default_rng(seed)
    memory, _ = planted(rng)
    memory.grams.append(memory.weights.T @ memory.weights)
    fit, source = ChannelFit(memory), rng.permutation(24)
    now = Arrangement(fit, source)
    now.swap(1, 2)
    energies = now.energies(3)
    for other in (0, 3, 11):
        swapped = now.source.copy()
        swapped[[3, other]] = swapped[[other, 3]]
        assert energies[other] - energies[3] == pytest.approx(fit.energy(swapped) - fit.energy(now.source), abs=1e-2)


@pytest.mark.parametrize('cipher', [SHUFFLE, SIGN, BOTH])
def test_labels_lead_to_the_key_of_few_channels(cipher, build):
    target = target_of(lively(build(SMALL, cipher, stages='all')), count=1, taught=True)
    for seconds in (3, 10, 40):  # the last for busy machines
        sentence, shares = attack('feature-swaps', target, seconds)
        if all(share.right == 1 for share in shares.values()):
            break
    assert all(share.right == 1 for share in shares.values()), shares
    assert 'keys tried' in sentence


def test_steps_of_swaps(build):
    swaps, rng = ATTACKS['feature-swaps'](), np.random.default_rng(0)
    view = target_of(build(SMALL, BOTH, stages='all')).view(swaps.needs)
    assert swaps.steps(view) == 8 * 7 // 2 + 8
    key = swaps.draw(view, rng)
    assert (key['stage=0'].mask > 0).sum() == 4
    for _ in range(50):
        key = swaps.change(key, view, rng)
        assert sorted(key['stage=0'].source) == list(range(8))


def test_what_is_not_applicable(build):
    target = target_of(build(SMALL, dict(type='FeatureBlockShuffle', block_size=2), stages='all'))
    for name in ('feature-swaps', 'norm-gain-signs', 'neighbour-layers', 'batch-norm-memory', 'public-channels'):
        with pytest.raises(NotApplicable, match='mixes positions'):
            attack(name, target)
    target = target_of(build(SMALL, SHUFFLE, stages='all'))
    for name, reason in {'norm-gain-signs': 'changes no signs', 'public-channels': 'no public weights'}.items():
        with pytest.raises(NotApplicable, match=reason):
            attack(name, target)
    for name in ('neighbour-layers', 'batch-norm-memory'):
        with pytest.raises(NotApplicable, match='changes no order'):
            attack(name, target_of(build(SMALL, SIGN, stages='all')))
    with pytest.raises(NotApplicable, match='lies between two layers'):
        attack('neighbour-layers', target)
