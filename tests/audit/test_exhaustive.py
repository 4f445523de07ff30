"""Exhaustive search: small spaces in full, seeds until the right one, an estimate for the rest."""

import pytest

from helpers.planted import attack, planted, whole
from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.estimators.key_spaces import count_keys

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


@pytest.mark.parametrize('first', [3, 7])
@pytest.mark.parametrize(
    ('word', 'block_size', 'keys'),
    [
        ('shuffle', 1, 6),
        ('negative-positive', 1, 3),
        ('shuffle+negative-positive', 1, 18),
        ('negative-positive', 2, 924),
    ],
)
def test_small_spaces_are_searched_in_full(word, block_size, keys, first):
    target = planted(word, block_size, first=first)
    assert count_keys(target.cipher_info) == keys
    result, shares = attack('exhaustive', target)
    assert whole(shares), shares
    assert f'All {keys} keys tried' in result.sentence


@pytest.mark.parametrize('word', ['reference-SHF', 'reference-NP', 'reference-FFX'])
def test_a_seed_of_the_reference_is_found(word):
    result, shares = attack('exhaustive', planted(word, seed=1234))
    assert whole(shares), shares
    assert 'of 2^32 keys tried' in result.sentence
    assert 'One stands out' in result.sentence


def test_a_large_space_gives_an_estimate_and_keeps_the_time():
    result, shares = attack('exhaustive', planted('shuffle+negative-positive'), seconds=0.5)
    assert 'of 2^248 keys tried' in result.sentence
    assert 'years' in result.sentence
    assert not whole(shares)
    with pytest.raises(NotApplicable, match='too many to search'):
        attack('exhaustive', planted('ffx'), seconds=0.5)
