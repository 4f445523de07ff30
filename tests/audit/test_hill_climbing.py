"""Hill climbing on a planted network, which lets the samples of each pixel vote for a class."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.planted import attack, planted, whole
from mmseg_keyprotect.audit.attack import Budget
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.attacks.hill_climbing import change, random_key, steps
from mmseg_keyprotect.audit.estimators.objectives import UnlabelledLoss, windows
from mmseg_keyprotect.audit.run import not_there
from mmseg_keyprotect.audit.target import Target

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
CENTRES = np.array([30, 90, 150, 210])


def vote(image):
    """The share of each class among the samples of each pixel, (4, H, W)."""
    near = np.exp(-(((image[..., None] - CENTRES) / 25.0) ** 2)) + 1e-6
    shares = near / near.sum(-1, keepdims=True)
    return np.einsum('hwcs,c->shw', shares, [0.7, 0.2, 0.1])


class Voting(Target):
    """A target whose network is :func:`vote` on what the correct key decrypts."""

    has_model, ignore_index, model = True, 255, nn.Identity()
    pool = 1
    """Pixels that vote together."""

    def logits(self, images, key, features=None):
        guess = self._cipher.with_transform(key)
        decrypted = [self._cipher.decrypt(guess.encrypt(image)).astype(float) for image in images]
        votes = torch.from_numpy(np.stack([vote(image) for image in decrypted])).float()
        return F.avg_pool2d(votes, self.pool).log()


def voting(word, noise=False):
    """Plant the network before the planted images, or before noise, whose samples each say something of their own."""
    target = planted(word, block_size=2)
    target.__class__ = Voting
    rng = np.random.default_rng(0)
    target.plain = [rng.integers(0, 256, image.shape, dtype=np.uint8) if noise else image for image in target.plain[:4]]
    target.labels = [vote(image).argmax(0).astype(np.uint8) for image in target.plain]
    return target


@pytest.mark.parametrize('word', ['negative-positive', 'shuffle'])
def test_labels_lead_to_the_key(word):
    for seconds in (3, 10, 40):  # the last for busy machines
        _, shares = attack('hill-climbing-labels', voting(word, noise=True), seconds)
        if whole(shares):
            break
    assert whole(shares), shares


def test_entropy_leads_to_the_signs_up_to_all_of_them():
    """Votes are as sure on negatives; the statistics of a real network would tell."""
    for seconds in (3, 10, 40):  # the last for busy machines
        target = voting('negative-positive')
        target.pool = 2
        _, shares = attack('hill-climbing-entropy', target, seconds)
        right = shares['signs'].right
        if right in (0, 1):
            break
    assert right in (0, 1)


def test_batch_norms_tell_negatives_apart():
    target = voting('negative-positive')
    target.model = norm = nn.BatchNorm2d(4)
    network = target.logits
    target.logits = lambda images, key: (norm(network(images, key)), network(images, key))[1]
    with torch.no_grad():
        norm.train()
        for _ in range(60):
            target.logits(windows(target.plain, target.form, 4), target._cipher.transform)
        norm.eval()
    norm.running_var[0] += 0.2  # no batch norm is as it was made
    loss, right = UnlabelledLoss(target, 4), target._cipher.transform
    opposite = type(right)(right.source, right.mask ^ 255)
    assert loss(right) < loss(opposite)


def test_steps_and_refusals():
    target = planted('shuffle+ffx')
    rng = np.random.default_rng(0)
    key = random_key(target.form, rng)
    assert steps(target.form) == 48 * 47 // 2 + 48
    for _ in range(50):
        key = change(key, target.form, rng)
        assert sorted(key.source) == list(range(48))
        assert len(set(key.table)) == 256
        assert not key.mask.any()
    assert not_there(ATTACKS['hill-climbing-entropy'](), target) == 'Not tried: there is no model.'
    target = voting('negative-positive')
    target.labels = []
    assert 'no labels' in not_there(ATTACKS['hill-climbing-labels'](), target)


def test_time_is_kept():
    budget = Budget(0.3)
    ATTACKS['hill-climbing-labels']().run(voting('negative-positive'), budget)
    assert 0.3 <= budget.spent < 1.5
