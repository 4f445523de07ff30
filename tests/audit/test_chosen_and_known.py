"""Chosen images and known pairs find every key; the number of images is what was computed by hand."""

import pytest

from helpers.planted import attack, planted, whole

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
WORDS = (
    'shuffle',
    'negative-positive',
    'ffx',
    'shuffle+negative-positive',
    'shuffle+ffx',
    'negative-positive+ffx',
    'shuffle+negative-positive+ffx',
    'reference-SHF',
    'reference-NP',
    'reference-FFX',
)


@pytest.mark.parametrize('name', ['chosen-images', 'known-pairs'])
@pytest.mark.parametrize('word', WORDS)
def test_the_whole_key_is_found(name, word):
    result, shares = attack(name, planted(word))
    assert whole(shares), shares
    assert result.images == 1 or 'ffx' in word.lower()  # a table may take more, until every value has occurred


def test_one_chosen_image_of_few_blocks_is_enough():
    for word, block_size, size in (('shuffle', 4, '4 x 4'), ('shuffle', 16, '16 x 32'), ('ffx', 4, '4 x 1028')):
        target = planted(word, block_size)
        result, shares = attack('chosen-images', target)
        assert whole(shares)
        assert f'{size} pixels' in result.sentence
        assert (result.queries, target.queries) == (1, 1)


def test_pairs_that_say_too_little_leave_the_key_open():
    target = planted('shuffle')
    target.data.seen = [target.data.seen[0] * 0 + 7]
    result, shares = attack('known-pairs', target)
    assert 'leave a part of the key open' in result.sentence
    assert not shares['order'].above_chance


def test_a_table_of_which_not_all_was_seen_is_not_the_whole_key():
    target = planted('ffx')
    target.data.seen = [target.data.seen[0] // 2]
    result, shares = attack('known-pairs', target)
    assert 'values never occurred' in result.sentence
    assert shares['positions'].right == 1
    assert 0.3 < shares['table'].right < 0.6
