"""Hill climbing on a planted network, which lets the samples of each pixel vote for a class."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.planted import attack, cipher_of, pictures, planted, whole
from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.attacks.hill_climbing import change, random_key, steps
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.objectives import UnlabelledLoss, windows
from mmseg_keyprotect.audit.target import AttackerData, Target

pytestmark = pytest.mark.filterwarnings('ignore:Weak cipher', 'ignore:ReferenceCipher')
CENTRES = np.array([30, 90, 150, 210])


def vote(image):
    """The share of each class among the samples of each pixel, (4, H, W)."""
    near = np.exp(-(((image[..., None] - CENTRES) / 25.0) ** 2)) + 1e-6
    shares = near / near.sum(-1, keepdims=True)
    return np.einsum('hwcs,c->shw', shares, [0.7, 0.2, 0.1])


class Voting:
    """A stolen model whose output is :func:`vote` on what the correct key decrypts."""

    ignore_index, feature_cipher, feature_places, is_private_side = 255, None, (), False

    def __init__(self, cipher, pool=1):
        self.cipher, self.pool = cipher, pool  # pixels that vote together
        self.model = nn.Identity()

    def logits(self, images, key, features=None):
        guess = self.cipher.with_transform(key)
        decrypted = [self.cipher.decrypt(guess.encrypt(image)).astype(float) for image in images]
        votes = torch.from_numpy(np.stack([vote(image) for image in decrypted])).float()
        return F.avg_pool2d(votes, self.pool).log()

    def masks(self, images, key):
        return self.logits(images, key).argmax(1).numpy()


def voting(word, noise=False, pool=1):
    """Plant the network before the planted images, or before noise, whose samples each say something of their own."""
    rng = np.random.default_rng(0)
    images = pictures()[-4:]
    if noise:
        images = [rng.integers(0, 256, image.shape, dtype=np.uint8) for image in images]
    labels = [vote(image).argmax(0).astype(np.uint8) for image in images]
    cipher = cipher_of(word, block_size=2)
    return Target(cipher, AttackerData([], images, labels), Voting(cipher, pool))


@pytest.mark.parametrize('name', ['hill-climbing-labels', 'query-masks'])
@pytest.mark.parametrize('word', ['negative-positive', pytest.param('shuffle', marks=pytest.mark.slow)])
def test_labels_lead_to_the_key(word, name):
    for seconds in (3, 10, 40):  # the last for busy machines
        _, shares = attack(name, voting(word, noise=True), seconds)
        if whole(shares):
            break
    assert whole(shares), shares


def test_entropy_leads_to_the_signs_up_to_all_of_them():
    """Votes are as sure on negatives; the statistics of a real network would tell."""
    for seconds in (3, 10, 40):  # the last for busy machines
        _, shares = attack('hill-climbing-entropy', voting('negative-positive', pool=2), seconds)
        right = shares['signs'].right
        if right in (0, 1):
            break
    assert right in (0, 1)


def test_batch_norms_tell_negatives_apart():
    target = voting('negative-positive')
    stolen, right = target.attacked, target.attacked.cipher.transform
    stolen.model = norm = nn.BatchNorm2d(4)
    network = stolen.logits
    stolen.logits = lambda images, key, features: (norm(network(images, key)), network(images, key))[1]
    with torch.no_grad():
        norm.train()
        for _ in range(60):
            stolen.logits(windows(target.data.plain, target.cipher_info, 4), right, None)
        norm.eval()
    norm.running_var[0] += 0.2  # no batch norm is as it was made
    loss = UnlabelledLoss(target.view(('weights', 'plain images')), 4)
    opposite = type(right)(right.source, right.mask ^ 255)
    assert loss(right) < loss(opposite)


def test_steps():
    info = planted('shuffle+ffx').cipher_info
    rng = np.random.default_rng(0)
    key = random_key(info, rng)
    assert steps(info) == 48 * 47 // 2 + 48
    for _ in range(50):
        key = change(key, info, rng)
        assert sorted(key.source) == list(range(48))
        assert len(set(key.table)) == 256
        assert not key.mask.any()


def test_what_is_not_applicable():
    with pytest.raises(NotApplicable, match='there is no model'):
        attack('hill-climbing-entropy', planted('shuffle+ffx'))
    target = voting('negative-positive')
    target.data.labels = []
    with pytest.raises(NotApplicable, match='no labels'):
        attack('hill-climbing-labels', target)


def test_time_is_kept():
    budget = Budget(0.3)
    ATTACKS['hill-climbing-labels']().attack(voting('negative-positive'), budget)
    assert 0.3 <= budget.spent < 5  # one step may take long on a busy machine
