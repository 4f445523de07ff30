"""Wrong keys and partly right keys."""

import numpy as np
import pytest

from helpers import CIPHERS
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.users import Users, partly_right_cipher

NONCE = bytes(16)
pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


@pytest.fixture(params=sorted(CIPHERS))
def correct(request, key_file):
    return KeyedCipher(CIPHERS[request.param])


@pytest.fixture
def noise():
    return np.random.default_rng(1).integers(0, 256, (160, 160, 3), dtype=np.uint8)


def wrong_cipher(correct, nonce, number):
    return Users(correct, None).wrong(nonce, number).encryption


def agreement(one, other, image):
    """The share of samples that two ciphers encrypt alike, where the image is noise."""
    return (one.encrypt(image)[0] == other.encrypt(image)[0]).mean()


def test_all_known_is_the_correct_key_and_nothing_known_is_a_wrong_one(correct, noise):
    assert agreement(correct, partly_right_cipher(correct, 100, NONCE), noise) == 1
    assert agreement(correct, partly_right_cipher(correct, 0, NONCE), noise) < 0.8
    wrong = wrong_cipher(correct, NONCE, 1)
    assert agreement(correct, wrong, noise) < 0.8


def test_a_reference_cipher_in_a_list(noise, key_file):
    correct = KeyedCipher([CIPHERS['reference-SHF']])
    assert agreement(correct, wrong_cipher(correct, NONCE, 1), noise) < 0.8


def test_shares_of_a_shuffle(key_file, noise):
    correct = KeyedCipher(CIPHERS['shuffle+negative-positive'])
    for known in (25, 50, 75, 90):
        guess, right = (one.cipher_for(3).transform for one in (partly_right_cipher(correct, known, NONCE), correct))
        (source, sign), (true_source, true_sign) = guess.signed_permutation(), right.signed_permutation()
        share = ((source == true_source) & (sign == true_sign)).mean()
        assert known / 100 <= share <= known / 100 + 0.1
        assert sorted(source) == list(range(48))


def test_draws_differ_and_repeat(correct, noise):
    users = Users(correct, None)
    ciphers = [users.partly_right(NONCE, 50, draw).encryption for draw in (1, 2, 2)]
    assert agreement(ciphers[0], ciphers[1], noise) < 1
    assert agreement(ciphers[1], ciphers[2], noise) == 1
    assert users.partly_right(NONCE, 50).known == 50
    assert users.without_key().known is None


def test_partly_right_tables_stay_injective(key_file):
    correct = KeyedCipher(CIPHERS['ffx'])
    guess, right = (one.cipher_for(3).transform for one in (partly_right_cipher(correct, 75, NONCE), correct))
    assert len(set(guess.table)) == 256
    assert 0.75 <= (guess.table == right.table).mean() < 0.78


def test_wrong_keys_differ_and_can_be_had_again(correct, noise):
    one, again, two = (wrong_cipher(correct, NONCE, number) for number in (1, 1, 2))
    assert agreement(one, again, noise) == 1
    assert agreement(one, two, noise) < 0.8
    other_nonce = wrong_cipher(correct, bytes(range(16)), 1)
    assert agreement(one, other_nonce, noise) < 0.8


def test_no_estimate_of_a_key_of_images_that_are_plain():
    with pytest.raises(ConfigError, match='images are plain'):
        Users(None, None).guessing(BlockTransform(np.arange(48)), None)
