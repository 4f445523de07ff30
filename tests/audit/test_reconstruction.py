"""A network that learned over many keys draws images that were encrypted with another."""

from dataclasses import asdict

import numpy as np
import pytest

from helpers.findings import audit_of
from helpers.planted import cipher_of, pictures, planted
from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.estimators.block_components import COMPONENTS, apply_key, block_components
from mmseg_keyprotect.audit.estimators.key_spaces import random_key
from mmseg_keyprotect.audit.findings import Finding
from mmseg_keyprotect.audit.run import carry_out

BOTH = 'shuffle+negative-positive'
pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher')


def scenes(count=24):
    """Draw bright boxes on a dark ground, uint8 (64, 96, 3): whether a scene is inverted shows by itself."""
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(count):
        image = np.tile(np.linspace(20, 60, 64)[:, None, None], (1, 96, 3))
        for _ in range(4):
            top, left, height, width = rng.integers((0, 0, 10, 10), (50, 80, 30, 30))
            image[top : top + height, left : left + width] = rng.integers(150, 256)
        drawn.append(image.astype(np.uint8))
    return drawn


def found(target, steps=150):
    """Run the attack as an audit does."""
    return carry_out(ATTACKS['reconstruction'](), target, 1.0, steps=steps)


@pytest.mark.parametrize('word', ['negative-positive', BOTH, 'ffx'])
def test_images_are_drawn_without_their_key(word):
    finding = found(planted(word, images=scenes()))
    assert finding.shows_pictures, finding.pictures
    assert finding.stopped == ''
    assert finding.sentence.startswith('150 steps, each with a new random key, on 12 images')
    report = audit_of(finding)
    assert report.verdict_on(finding) == 'leaks: pictures'
    assert 'reconstruction SSIM 0.' in report.table()
    assert Finding.from_dict(asdict(finding)) == finding


@pytest.mark.parametrize('seen', ['noise', 'others'])
def test_images_without_information_are_not_drawn(seen):
    """A control: encrypted noise, and encrypted images of other scenes than those that it is compared with."""
    target = planted(BOTH, images=scenes())
    rng = np.random.default_rng(0)
    if seen == 'noise':
        target.data.seen = [rng.integers(0, 256, image.shape, dtype=np.uint8) for image in target.data.seen]
    else:
        target.encrypted  # noqa: B018  those of the scenes before
        target.data.seen = target.data.seen[::-1]
    finding = found(target)
    assert not finding.shows_pictures, finding.pictures
    assert audit_of(finding).verdict_on(finding) == 'held'


def test_a_training_that_was_cut_short():
    finding = carry_out(ATTACKS['reconstruction'](), planted('shuffle', images=scenes()), 0.001, steps=500)
    assert finding.stopped.endswith('of 500 steps')


def test_small_images_are_not_attacked():
    target = planted('shuffle', 4)
    target.data.seen = [image[:8] for image in target.data.seen]
    with pytest.raises(NotApplicable, match='smaller than 11'):
        ATTACKS['reconstruction']().attack(target, Budget(1.0))


@pytest.mark.parametrize('block_size', [4, 16])
def test_no_key_changes_the_components(block_size):
    """Of a cipher that moves and inverts samples."""
    info = CipherInfo.of(cipher_of(BOTH, block_size))
    grid, rng = info.grid(pictures()[0]), np.random.default_rng(0)
    plain = block_components(grid)
    assert plain.shape == (*grid.shape[:2], COMPONENTS)
    for _ in range(3):
        encrypted = block_components(apply_key(grid, random_key(info, rng)))
        np.testing.assert_allclose(encrypted, plain, atol=1e-3)
    other = block_components(info.grid(pictures()[1]))
    assert abs(other - plain).max() > 1


def test_drawn_keys_are_of_the_cipher():
    rng = np.random.default_rng(0)
    for word in ('shuffle', 'negative-positive', 'ffx', 'shuffle+negative-positive+ffx'):
        cipher = cipher_of(word)
        info = CipherInfo.of(cipher)
        key, own = random_key(info, rng), cipher.transform
        assert key.moves == own.moves
        assert (key.mask > 0).sum() == (own.mask > 0).sum()
        assert key.keyed.sum() == own.keyed.sum()
        grid = info.grid(pictures()[0])
        assert (apply_key(grid, own) == info.grid(cipher.encrypt(pictures()[0]))).all()


def test_a_flat_image_has_no_components():
    assert not block_components(np.full((4, 5, 48), 7)).any()
