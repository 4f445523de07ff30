"""A block stem that absorbed a key, attacked by its weights."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import CIPHERS
from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS, weights_alone
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.stem_columns import columns_of, energies
from mmseg_keyprotect.audit.estimators.stem_structure import StemStructure, find_pixels
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.models.stem.absorber import StemKeyAbsorber
from mmseg_keyprotect.models.stem.block_stem import BlockStem

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')
BOTH = 'shuffle+negative-positive'


class Stolen:
    """A stolen model that is a block stem alone, and gets BGR images."""

    feature_cipher, network_sees_rgb, is_private_side = None, False, False

    def __init__(self, stem):
        self.model, self.model.backbone = nn.Module(), nn.Module()
        self.model.block_stem, self.model.backbone.conv = 'backbone.conv', stem


def target_of(keyed, stem, weights=None):
    plain = [np.zeros((8, 8, 3), dtype=np.uint8)]
    return Target(keyed.cipher_for(3), AttackerData([], plain), Stolen(stem), public_weights=weights)


def smooth(out_channels, size, seed):
    """Filters that are smooth and nearly grey, as trained ones are."""
    rng = torch.Generator().manual_seed(seed)
    near = torch.exp(-((torch.arange(size)[:, None] - torch.arange(size)) ** 2) / 4.0)
    grey = torch.randn(out_channels, 1, size, size, generator=rng)
    colour = torch.randn(out_channels, 3, size, size, generator=rng) * torch.tensor([0.3, 0.4, 0.5]).reshape(3, 1, 1)
    return near @ (grey + colour) @ near


def stolen(word=BOTH, size=3, stride=2, padding=1, border='grey', noise=0.0, mean=110.0, public=True):
    keyed = KeyedCipher(CIPHERS[word])
    absorber = StemKeyAbsorber(torch.full((3,), mean), torch.full((3,), 60.0), rgb=False, keyed_cipher=keyed)
    conv = nn.Conv2d(3, 32, size, stride, padding)
    conv.weight.data = smooth(32, size, 1)
    stem = BlockStem.replacing(conv, 4, border, absorber)
    stem.load_state_dict({'weight': conv.weight.data, 'bias': conv.bias.data, **_border(stem)}, strict=False)
    if noise:
        stem.weight.data += noise * stem.weight.data.std() * torch.randn(stem.weight.shape)
    weights = {'backbone.conv.weight': conv.weight.data} if public else None
    return target_of(keyed, stem, weights)


def _border(stem):
    return {} if stem.border is None else {'border': stem.border}


def attack(target, seconds=20):
    result = ATTACKS['weights-alone']().attack(target, Budget(seconds))
    return result, {share.part: share.right for share in target.shares(result)}


@pytest.mark.parametrize('word', ['shuffle', 'negative-positive', BOTH])
@pytest.mark.parametrize('size', [3, 7])
def test_the_public_model_shows_the_key_at_once(word, size, key_file):
    _, shares = attack(stolen(word, size, *((2, 1) if size == 3 else (4, 3)), noise=0.2))
    assert set(shares.values()) == {1.0}


def test_public_weights_of_another_shape_are_said_to_be_of_no_use(key_file, monkeypatch):
    monkeypatch.setattr(weights_alone, 'UnlabelledLoss', lambda view, count: lambda key: 0.0)
    target = stolen()
    target.public_weights = {'backbone.conv.weight': torch.zeros(8, 3, 5, 5)}
    result, _ = attack(target, 0.2)
    assert 'no first convolution of this shape' in result.sentence


def test_zeros_and_copies_leave_a_few_classes(key_file):
    target = stolen(noise=0.05)
    stem = target.attacked.model.backbone.conv
    columns = columns_of(stem)
    structure = StemStructure(columns, find_pixels(energies(columns, stem.grid), stem.grid), stem.grid)
    true, signs = (value.numpy() for value in stem.absorber.transform(3, 4))
    assert (structure.pixels == true % 16).all()
    assert structure.classes.max() + 1 == 4
    for c in range(4):
        for g in range(3):
            mine = (structure.classes == c) & (structure.groups == g)
            assert len(set(true[mine] // 16)) == 1  # one colour
            assert len(set(signs[mine] * structure.signs[mine])) == 1  # one sign
    guesses = structure.guesses()
    assert len(guesses) == 2**4
    assert any((structure.resolve(states)[1] == signs).all() for states in guesses)


def test_what_is_left_is_tried(key_file, monkeypatch):
    """With a loss that knows how much of the key is wrong the search must end at the key."""
    target = stolen(public=False)
    transform = target._cipher.transform

    def loss(key):
        return float((key.source != transform.source).mean() + (key.mask != transform.mask).mean())

    monkeypatch.setattr(weights_alone, 'UnlabelledLoss', lambda view, count: loss)
    result, shares = attack(target)
    assert set(shares.values()) == {1.0}
    assert '4 classes' in result.sentence


def test_typical_filters_are_better_than_chance(key_file):
    """With a kernel of which every tap stands once there is nothing but smoothness."""
    target = stolen('shuffle', 7, 4, 3, public=False)
    result, _ = attack(target)
    assert result.sentence == 'Compared with typical filters.'
    pixels = (result.key.source // 3 == target._cipher.transform.source // 3).mean()
    assert pixels > 0.5  # chance: 1/16


def test_the_exact_border_shows_all_signs(key_file):
    for mean in (110.0, 140.0):
        result, shares = attack(stolen('negative-positive', 7, 4, 3, border='exact', mean=mean, public=False))
        assert shares['signs'] == 1
        assert 'border reveals the signs' in result.sentence


def test_no_block_stem_no_columns(key_file):
    target = target_of(KeyedCipher(CIPHERS[BOTH]), nn.Conv2d(3, 8, 3))
    with pytest.raises(NotApplicable, match='no block stem'):
        attack(target)
