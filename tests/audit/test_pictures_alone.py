"""Encrypted images alone: the key of a cipher that is the same in every block shows in their statistics."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.planted import COUNT, attack, pictures, planted, whole
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.matching import _gains, match, mismatch
from mmseg_keyprotect.ciphers.kernels import Kernel

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')


@pytest.mark.parametrize('word', ['shuffle', 'negative-positive', 'shuffle+negative-positive', 'reference-SHF'])
def test_order_and_signs_are_found(word):
    result, shares = attack('pictures-alone', planted(word))
    assert whole(shares), shares
    assert (result.images, result.queries) == (len(pictures()), 0)


def test_real_images(real_data):
    files = sorted((real_data('camvid') / 'images' / 'train').iterdir())
    chosen = [files[i] for i in np.linspace(0, len(files) - 1, 16).round().astype(int)]
    images = [np.asarray(Image.open(file).convert('RGB').resize((240, 192))) for file in chosen]
    _, shares = attack('pictures-alone', planted('shuffle+negative-positive', images=images))
    assert whole(shares), shares


@pytest.mark.parametrize('word', ['ffx', 'shuffle+ffx', 'reference-FFX'])
def test_looked_up_positions_and_most_of_the_table_are_found(word):
    _, shares = attack('pictures-alone', planted(word))
    assert shares['positions'].right == 1
    assert shares['table'].right > 0.25
    assert shares['table'].sigmas > 50


def test_signs_of_looked_up_samples():
    _, shares = attack('pictures-alone', planted('negative-positive+ffx'))
    assert shares['positions'].right == shares['signs'].right == 1
    assert shares['table'].right > 0.2  # scored by what becomes of a sample, its sign included


class SureOfColours:
    """Stands for a stolen model: it is sure of its masks where its key leaves the colours as they are."""

    is_private_side, feature_cipher, model = False, None, torch.nn.Identity()

    def __init__(self, target):
        self._decrypt = target._cipher.decrypt

    def logits(self, images, key, features=None):
        (image,) = images
        seen = self._decrypt(Kernel(key, block_size=4, channels=3).encrypt(image))
        bright = torch.from_numpy((image.mean(2) > 128).astype(np.float32))
        return 20 * (seen == image).mean() * torch.stack([bright, 1 - bright])[None]


def test_a_model_tells_colours_apart():
    """Every colour is the brightness of another scene, so that the statistics of the three are the same."""
    grey = [image.mean(2).astype(np.uint8) for image in pictures()]
    images = [np.stack([grey[number - shift] for shift in range(3)], 2) for number in range(COUNT)]
    found = []
    for first in range(3):
        target = planted('shuffle+negative-positive', images=images, first=first)
        before, without = attack('pictures-alone', target)
        target.attacked = SureOfColours(target)
        after, shares = attack('pictures-alone', target)
        assert whole(shares), shares
        assert 'colours' in after.sentence
        assert 'colours' not in before.sentence
        found.append(without['order'].right)
    assert min(found) < 1


def test_images_without_any_statistics_give_nothing():
    """Noise is not natural: nothing can be learned from it, and the score says so."""
    target = planted('shuffle+negative-positive')
    rng = np.random.default_rng(0)
    target.data.seen = [rng.integers(0, 256, image.shape, dtype=np.uint8) for image in target.data.seen]
    _, shares = attack('pictures-alone', target)
    assert not any(share.above_chance for share in shares.values()), shares


def test_match_finds_a_planted_order():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(3, 60, 60))
    known[0] += known[0].T
    order = rng.permutation(60)
    seen = known[:, order][:, :, order]
    start = order.copy()
    start[:12] = order[rng.permutation(12)]
    assert (match(seen, known, start, Budget(20)) == order).all()
    assert mismatch(seen, known, order) == 0


def test_gains_of_swaps():
    a, b = np.random.default_rng(0).normal(size=(2, 7, 7))
    for k in range(7):
        for s in range(7):
            order = np.arange(7)
            order[[k, s]] = order[[s, k]]
            wanted = (a * b[np.ix_(order, order)]).sum() - (a * b).sum()
            assert _gains(a, b, k)[s] == pytest.approx(wanted)


def test_time_is_kept():
    target, budget = planted('shuffle', 16, images=pictures()[:8]), Budget(0.1)
    result = ATTACKS['pictures-alone']().attack(target, budget)
    assert budget.spent < 15  # the statistics themselves; the search would take minutes
    assert target.shares(result)[0].above_chance  # the first guess
