"""A new cipher is one class and one registration: configurations, command line, sequences and audit then know it."""

import json

import numpy as np
import pytest
from PIL import Image

from helpers import SHUFFLE
from mmseg_keyprotect.ciphers import (
    CIPHERS,
    FEATURE_CIPHERS,
    BlockCipher,
    BlockTransform,
    FeatureCipher,
    FeatureTransform,
    KeyedCipher,
    Shuffle,
    build_cipher,
    cipher_parts,
    register_cipher,
    register_feature_cipher,
)
from mmseg_keyprotect.ciphers.derivation import permutation
from mmseg_keyprotect.cli.main import build_parser, main
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.images import read_encrypted


class Mix(BlockCipher):
    """Permutes the samples of every block."""

    word = 'mix'
    has_order = True
    key_space_bits = 81.0

    def __init__(self, block_size, key, channels=3):
        super().__init__(block_size, key.key_id, channels)
        self.transform = BlockTransform(permutation(key, self.samples, f'mix/M={block_size}'))


class FeatureReverse(FeatureTransform):
    """Reverses the channels."""

    word = 'feature-reverse'
    has_order = True

    def transform(self, key, place, channels):
        return BlockTransform(np.arange(channels)[::-1])

    def key_bits(self, channels):
        return 81.0


@pytest.fixture
def mix(monkeypatch):
    monkeypatch.setitem(CIPHERS, 'Mix', None)  # so that the test leaves the registry as it was
    del CIPHERS['Mix']
    return register_cipher(Mix)


@pytest.fixture
def reverse(monkeypatch):
    monkeypatch.setitem(FEATURE_CIPHERS, 'FeatureReverse', None)
    del FEATURE_CIPHERS['FeatureReverse']
    return register_feature_cipher(FeatureReverse)


def test_before_the_registration(key):
    with pytest.raises(ConfigError, match="out of .*but got 'Mix'.*register_cipher"):
        build_cipher(dict(type='Mix', block_size=4), key)
    assert CIPHERS['Shuffle'] is Shuffle


def test_configurations_and_sequences(mix, key, other_key):
    cipher = build_cipher(dict(type='Mix', block_size=4), key)
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    encrypted = cipher.encrypt(image)
    assert (encrypted != image).any()
    np.testing.assert_array_equal(cipher.decrypt(encrypted), image)
    both = build_cipher([dict(type='Mix', block_size=4), SHUFFLE], key)
    assert (both.name, both.has_order, both.has_signs) == ('mix+shuffle/M=4', True, False)
    with pytest.raises(ConfigError, match='Expected the parameters of Mix.*rounds'):
        build_cipher(dict(type='Mix', block_size=4, rounds=2), key)
    keyed = KeyedCipher(dict(type='Mix', block_size=4), key)
    assert keyed.with_key(other_key).key_id == other_key.key_id


def test_the_command_line(mix, tmp_path, key_file, key):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / 'a.png')
    words = ['encrypt', tmp_path / 'a.png', '-o', tmp_path / 'b.png', '--cipher', 'mix', '--key-file', key_file]
    assert main(list(map(str, words))) == 0
    assert read_encrypted(tmp_path / 'b.png')[1]['cipher'] == 'mix/M=4'


def test_a_cipher_that_is_not_registered_is_not_offered(tmp_path, capsys):
    for word in ('mix', 'reference-SHF', 'Shuffle'):
        with pytest.raises(SystemExit):
            main(['encrypt', 'a.png', '-o', 'b.png', '--cipher', word])
        assert 'choose from ffx, negative-positive, shuffle)' in capsys.readouterr().err.replace("'", '')


def test_the_default_of_the_command_line():
    args = build_parser(['protect']).parse_args(['protect', 'config.py', '-o', 'out'])
    assert (args.cipher, args.feature_cipher) == (['shuffle', 'negative-positive'], ['shuffle', 'sign'])


def test_feature_ciphers(reverse, key):
    cipher = FeatureCipher([dict(type='FeatureReverse'), dict(type='FeatureSign')])
    assert (cipher.name, cipher.has_order, cipher.has_signs) == ('feature-reverse+feature-sign', True, True)
    assert cipher.steps(key, 'stage=0', 8)[0].transform.source.tolist() == list(range(8))[::-1]
    words = ['protect', 'config.py', '-o', 'out', '--features', 'all', '--feature-cipher', 'reverse', 'sign']
    from mmseg_keyprotect.cli.cipher_options import features_of

    config = features_of(build_parser(words).parse_args(words))
    assert config['cipher'] == [dict(type='FeatureReverse'), dict(type='FeatureSign')]


@pytest.mark.parametrize(
    ('cipher', 'order', 'signs', 'table', 'seed'),
    [
        (dict(type='Shuffle', block_size=4), True, False, False, False),
        (dict(type='NegativePositive', block_size=4, allow_weak=True), False, True, False, False),
        (dict(type='FFX', block_size=4), False, False, True, False),
        ([SHUFFLE, dict(type='FFX', block_size=4)], True, False, True, False),
        (dict(type='ReferenceCipher', transform='SHF', block_size=4, seed=1), True, False, False, True),
        (dict(type='ReferenceCipher', transform='NP', block_size=4, seed=1), False, True, False, True),
        ([SHUFFLE, dict(type='ReferenceCipher', transform='NP', block_size=4, seed=1)], True, True, False, False),
    ],
)
@pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
def test_facts(cipher, order, signs, table, seed, key):
    built = build_cipher(cipher, key)
    for one in (built, built.renamed(np.array([2, 1, 0]))):
        assert (one.has_order, one.has_signs, one.has_table, one.from_seed) == (order, signs, table, seed)


def test_the_facts_are_true(key):
    """A cipher says that it moves, inverts or looks up samples exactly if its transform does."""
    for name in ('Shuffle', 'NegativePositive', 'FFX'):
        cipher = (
            build_cipher(dict(type=name, block_size=4, allow_weak=True), key)
            if name != 'NegativePositive'
            else (CIPHERS[name](4, key))
        )
        transform = cipher.transform
        found = (transform.moves, bool(transform.mask.any()), transform.table is not None)
        assert found == (cipher.has_order, cipher.has_signs, cipher.has_table)


@pytest.mark.parametrize(
    ('name', 'word'), [('Shuffle', 'another'), ('Other', 'shuffle')], ids=['same name', 'same word']
)
def test_names_and_words_are_unique(name, word):
    with pytest.raises(ConfigError, match='new name and a new word.*meets Shuffle'):
        register_cipher(type(name, (Mix,), dict(word=word)))
    with pytest.raises(ConfigError, match='new name and a new word.*meets FeatureShuffle'):
        register_feature_cipher(type(f'Feature{name}', (FeatureReverse,), dict(word=f'feature-{word}')))
    assert {'Other', 'FeatureOther'}.isdisjoint({*CIPHERS, *FEATURE_CIPHERS})


@pytest.mark.filterwarnings('ignore:ReferenceCipher')
def test_another_key_changes_a_seed_and_no_other_cipher(other_key):
    reference = dict(type='ReferenceCipher', transform='SHF', block_size=4, seed=1)
    for cipher in (reference, [reference], dict(type='Sequence', ciphers=[reference])):
        rekeyed = KeyedCipher(cipher).with_key(other_key)
        (part,) = rekeyed._config['cipher']
        assert part['seed'] == int.from_bytes(other_key.derive('reference-seed', 4), 'little')
    mixed = [SHUFFLE, dict(reference, transform='NP')]
    parts = KeyedCipher(mixed, other_key).with_key(other_key)._config['cipher']
    assert parts[0] == SHUFFLE
    assert parts[1]['seed'] != 1


def test_weakness_of_a_whole_sequence_is_that_of_its_parts():
    cfg = dict(type='Sequence', ciphers=[SHUFFLE], allow_weak=True)
    assert cipher_parts(cfg) == [dict(SHUFFLE, allow_weak=True)]
    json.dumps(cipher_parts(cfg))
