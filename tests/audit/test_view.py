"""An attack gets what it declares and nothing else, and nobody gets the correct key."""

import collections
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import nn

from helpers.planted import cipher_of, pictures
from mmseg_keyprotect.audit.attack import NEEDS, Attack, AttackResult, NotApplicable
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.run import carry_out
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.audit.view import UndeclaredAccessError, View
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.features.encryption import KeyedFeatures
from mmseg_keyprotect.protection.checkpoints import build_model
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel

KEYED = dict(type='KeyedEncoderDecoder')
PLAIN = dict(type='SegDataPreProcessor', bgr_to_rgb=True, size=(64, 64), pad_val=0, seg_pad_val=255)
OF_NEED = {
    'weights': ('model', 'stolen', 'feature_places', 'network_sees_rgb', 'logits'),
    'masks': ('masks',),
    'masks of plain images': ('plain_mask',),
    'scores of plain images': ('plain_scores',),
    'encrypted images': ('encrypted',),
    'pairs': ('pairs',),
    'plain images': ('plain', 'training_set', 'own_model'),
    'labels': ('labels', 'ignore_index'),
    'encryptor': ('encrypt',),
    'public weights': ('public_weights',),
}
"""What each need grants; everything else of a view is public."""

FACTS = ('cipher_info', 'feature_cipher', 'sought_feature_cipher', 'lacks')
"""The public facts."""


@pytest.fixture
def opened(tiny, tmp_path):
    """A function that opens an untrained protected model as a target."""

    def open_(images=2, weights=None, **model):
        cfg = tiny()
        for part, value in model.items():
            cfg.model[part] = value
        cfg.data_preprocessor = cfg.model.data_preprocessor
        cfg.train_dataloader.dataset.pipeline[2].crop_size = (64, 64)
        torch.manual_seed(0)
        checkpoint = tmp_path / 'untrained.pth'
        torch.save(dict(state_dict=build_model(cfg).state_dict()), checkpoint)
        protected = ProtectedModel(cfg, str(checkpoint))
        test_images = TestImages(protected.cfg)
        return protected, open_target(protected, test_images, images, [], weights and weights(protected.model))

    return open_


@pytest.mark.slow
def test_every_attack_runs_on_what_it_declares(opened, tmp_path):
    """Images and feature maps are encrypted; whatever an attack reaches for beyond its needs is an error."""
    demo = dict(KEYED, feature_encryption=dict(stages=(3,)), block_stem=dict())
    targets = [
        opened(**demo)[1],
        opened(**demo, weights=nn.Module.state_dict)[1],
        opened(**KEYED, data_preprocessor=PLAIN, feature_encryption=dict(stages=(3,)))[1],
        opened(**KEYED, feature_encryption=dict(blocks='all', cipher=dict(type='FeatureShuffle')))[1],
    ]
    ran = collections.Counter()
    for target in targets:
        for name in ATTACKS:
            finding = carry_out(ATTACKS[name](), target, 0.2 / 60, steps=1)
            ran[name] += finding.applicable
    assert not [name for name in ATTACKS if not ran[name]]


@pytest.mark.parametrize('need', NEEDS)
def test_undeclared_access_is_an_error(need):
    """With all needs but one, exactly what that one grants is refused."""
    view = everything().view([other for other in NEEDS if other != need])
    for other, names in OF_NEED.items():
        for name in names:
            if other == need:
                with pytest.raises(UndeclaredAccessError, match=need):
                    use(view, name)
            else:
                use(view, name)


def test_a_view_has_nothing_that_no_need_grants():
    public = {name for name in dir(View) if not name.startswith('_')}
    assert public == {*FACTS, *(name for names in OF_NEED.values() for name in names)}


def test_what_is_sought_must_be_encrypted():
    plain = Target(None, AttackerData(pictures()[:1], []))
    with pytest.raises(NotApplicable, match='feature maps are not encrypted'):
        _ = plain.view(()).sought_feature_cipher
    with pytest.raises(NotApplicable, match='images are not encrypted'):
        plain.view(('encryptor',)).encrypt(pictures()[0])
    assert plain.queries == 0


def test_an_attack_that_reaches_for_more_fails():
    class Greedy(Attack):
        name, needs, seeks = 'greedy', ('encrypted images',), 'images'

        def run(self, view, budget):
            return AttackResult(f'{len(view.encrypted)} of {len(view.plain)}.')

    with pytest.raises(UndeclaredAccessError, match="'plain images'"):
        carry_out(Greedy(), everything(), 1)
    Greedy.needs = ('encrypted images', 'plain images')
    assert carry_out(Greedy(), everything(), 1).sentence == '2 of 2.'
    Greedy.needs = ('everything',)
    with pytest.raises(ValueError, match='everything'):
        carry_out(Greedy(), everything(), 1)


@pytest.mark.parametrize(
    ('needs', 'reason'),
    [
        (('weights',), 'there is no model'),
        (('labels',), 'no labels'),
        (('public weights',), 'no public weights'),
        (('pairs',), 'no image is left'),
    ],
)
def test_what_the_target_lacks_is_not_applicable(needs, reason):
    target = Target(cipher_of('shuffle'), AttackerData([], pictures()[:1]))
    with pytest.raises(NotApplicable, match=reason):
        target.view(needs)
    assert target.view((), needs) is not None  # what an attack may use, it need not have


def test_labels_are_taken_out_of_the_training_set(opened):
    _, target = opened()
    rng = np.random.default_rng(0)
    with_labels = target.view(('plain images', 'labels')).training_set.draw(rng)
    without = target.view(('plain images',)).training_set.draw(np.random.default_rng(0))
    assert all('gt_sem_seg' in sample for sample in with_labels['data_samples'])
    assert not any('gt_sem_seg' in sample for sample in without['data_samples'])
    assert len(without['inputs']) == len(with_labels['inputs'])


@pytest.mark.parametrize('tied', [True, False])
def test_no_view_holds_the_correct_key(opened, tied):
    """Neither the stolen model nor anything else that a view gives leads to key material."""
    keyed = dict(KEYED, feature_encryption=dict(stages='all'), denial=dict(weight=1.0))
    protected, target = opened(**keyed, block_stem=dict(tied=tied))
    assert key_material(protected)  # the search finds what is there
    assert key_material(protected.model.backbone)
    view = target.view((), NEEDS)
    view.logits(view.plain[:1], None)
    view.logits(view.plain[:1], protected.cipher.cipher_for(3).transform)
    for name in dir(View):
        if not name.startswith('_'):
            found = getattr(view, name)
            if name == 'stolen':
                found = found()
            assert not key_material(found), name


def everything():
    """Make a target that has all that an attacker may have, of planted parts."""
    images = pictures()[:4]
    weights = {'weight': torch.zeros(1)}
    attacked = SimpleNamespace(
        model=nn.Identity(),
        stolen=nn.Identity,
        feature_cipher=None,
        feature_places=[],
        network_sees_rgb=True,
        ignore_index=255,
        logits=lambda images, key, features: torch.zeros(1),
        masks=lambda images, key: np.zeros(1),
        answer=lambda crop: SegDataSample(pred_sem_seg=PixelData(data=crop), seg_logits=PixelData(data=crop)),
        is_private_side=False,
    )
    labels = [image[..., 0] for image in images[2:]]
    training_set = SimpleNamespace(without_labels=lambda: 'unlabelled')
    data = AttackerData(images[:2], images[2:], labels, training_set, own_model=Config())
    return Target(cipher_of('shuffle'), data, attacked, public_weights=weights)


def use(view, name):
    found = getattr(view, name)
    if callable(found) and not isinstance(found, nn.Module):
        arguments = dict(
            stolen=(),
            encrypt=(pictures()[0],),
            logits=(pictures()[:1], None),
            masks=(pictures()[:1], None),
            plain_mask=(torch.zeros(3, 8, 8),),
            plain_scores=(torch.zeros(3, 8, 8),),
        )
        found(*arguments[name])


def key_material(root):
    """Search everything that an object holds, except bound methods, for keys, ciphers and keyed transforms."""
    seen, todo = set(), [root]
    while todo:
        found = todo.pop()
        if id(found) in seen or isinstance(found, type | str | bytes | np.ndarray | torch.Tensor):
            continue
        seen.add(id(found))
        if isinstance(found, SecretKey | KeyedCipher | BlockCipher | KeyedFeatures):
            return [found]
        if isinstance(found, dict):
            todo += found.values()
        elif isinstance(found, list | tuple | set | frozenset):
            todo += found
        elif type(found).__module__.startswith(('mmseg', 'torch.nn', 'mmengine')):
            todo += vars(found).values() if hasattr(found, '__dict__') else []
    return []
