"""Ciphers of feature maps against their vectors, and the configurations that are refused."""

import numpy as np
import pytest
import torch

from helpers.vectors import array, load
from mmseg_keyprotect.ciphers.feature_ciphers import FeatureCipher
from mmseg_keyprotect.errors import BlockAlignmentError, ConfigError, WeakCipherError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.features.encryption import KeyedFeatures

TYPES = {
    'feature-shuffle': 'FeatureShuffle',
    'feature-sign': 'FeatureSign',
    'feature-block-shuffle': 'FeatureBlockShuffle',
}
SHUFFLE, SIGN = dict(type='FeatureShuffle'), dict(type='FeatureSign')


def config(words, block_size):
    return [dict(type=TYPES[word], **({'block_size': block_size} if 'block' in word else {})) for word in words]


@pytest.mark.parametrize('vector', load('features'))
def test_vectors(vector):
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
    plain, encrypted = (torch.from_numpy(array(vector[name])).double() for name in ('plain', 'encrypted'))
    cipher = FeatureCipher(config(vector['ciphers'], vector['block_size']))
    steps = cipher.steps(key, vector['place'], plain.shape[2])
    as_map = plain.permute(2, 0, 1)[None]
    got = KeyedFeatures(steps)(as_map, 1)
    assert torch.equal(got[0].permute(1, 2, 0), encrypted)
    back = KeyedFeatures([step._replace(transform=step.transform.inverse()) for step in reversed(steps)])(got, 1)
    assert torch.equal(back, as_map)
    if vector['block_size'] == 1:  # as tokens
        tokens = plain.reshape(1, -1, plain.shape[2])
        assert torch.equal(KeyedFeatures(steps)(tokens, -1), encrypted.reshape(tokens.shape))


def test_places_and_keys_differ(key, other_key):
    cipher = FeatureCipher([SHUFFLE, SIGN])
    cases = ((key, 'stage=0'), (key, 'stage=1'), (other_key, 'stage=0'))
    one, place, other = (cipher.steps(k, place, 64)[0].transform for k, place in cases)
    for another in (place, other):
        assert (one.source == another.source).mean() < 0.2
        assert 0.2 < (one.mask == another.mask).mean() < 0.8
    assert (one.mask > 0).sum() == 32


def test_nothing_of_the_key_is_printed(key):
    step = FeatureCipher(SHUFFLE).steps(key, 'stage=0', 8)[0]
    assert repr(step.transform.source) not in repr(step)


@pytest.mark.parametrize(
    ('cfg', 'error', 'words'),
    [
        ([SHUFFLE, SHUFFLE], ConfigError, 'once'),
        (dict(type='Shuffle', block_size=4), ConfigError, "got .'Shuffle'"),
        ([], ConfigError, r'got \[\]'),
        (None, ConfigError, 'got'),
        (dict(type='FeatureShuffle', block_size=2), ConfigError, 'block_size'),
        (dict(type='FeatureBlockShuffle'), ConfigError, 'block_size'),
        (dict(type='FeatureBlockShuffle', block_size=0), BlockAlignmentError, 'at least 1'),
    ],
)
def test_bad_ciphers(cfg, error, words):
    with pytest.raises(error, match=words):
        FeatureCipher(cfg)


def test_weak_ones_are_refused():
    with pytest.raises(WeakCipherError, match='44.3 key bits'):
        FeatureCipher(SHUFFLE).key_space_bits([16])
    assert FeatureCipher(dict(SHUFFLE, allow_weak=True)).key_space_bits([16]) == pytest.approx(44.25, abs=0.01)
    assert FeatureCipher(SHUFFLE).key_space_bits([16, 24]) == pytest.approx(44.25 + 79.04, abs=0.01)
    assert FeatureCipher([SHUFFLE, SIGN]).key_space_bits([256]) == 256
    assert np.isclose(FeatureCipher(dict(SIGN, allow_weak=True)).key_space_bits([4]), np.log2(6))
