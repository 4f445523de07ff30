"""Attacks that train: on weak cases, where they must succeed, and what they leave alone."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.attacks.un_key import install
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.estimators.doubly_stochastic import restrict
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.run import carry_out
from mmseg_keyprotect.config.edit import unprotected
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.protection.checkpoints import build_model, read_checkpoint
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel

TRAINED: list[Path] = []
PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'


@pytest.fixture
def plain(tiny, tmp_path, tmp_path_factory):
    """A model that knows the six images that it is tested on, so that there is something to steal; trained once."""
    if not TRAINED:
        cfg = tiny(PLAIN, **{'train_cfg.max_iters': 60, 'train_cfg.val_interval': 60})
        cfg.default_hooks.checkpoint.interval = 60
        cfg.test_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix
        cfg.work_dir = str(tmp_path_factory.mktemp('plain'))
        cfg.dump(tmp_path / 'plain.py')
        Runner.from_cfg(cfg).train()
        TRAINED.extend([tmp_path / 'plain.py', Path(cfg.work_dir) / 'iter_60.pth'])
    return TRAINED


def opened(plain, out, images=6, **protection):
    """Bind the model; return the target, and what measures attackers."""
    config, checkpoint = protect_checkpoint(*plain, out, **protection)
    cfg = Config.fromfile(config)
    protected = ProtectedModel(cfg, str(checkpoint))
    test_images = TestImages(protected.cfg)
    scene = HeldOut(protected, test_images, 6)
    return protected, open_target(protected, test_images, images, scene.indices), scene


@pytest.mark.slow
def test_attacks_that_train_succeed_where_one_stage_is_encrypted(plain, tmp_path):
    protected, target, scene = opened(plain, tmp_path / 'out', cipher=None, features=dict(stages=(3,)))
    before = {name: value.clone() for name, value in protected.model.state_dict().items()}
    reference = scene.reference()
    half = (max(reference['no key'], reference['floor']) + reference['correct key']) / 2
    for name in ('un-key', 'un-key-doubly-stochastic', 'un-key-unlabelled', 'fine-tuning'):
        found = carry_out(ATTACKS[name](), target, 5, scene, steps=40)
        assert found.mIoU > half, name
        assert found.sentence == '40 steps on 6 images.'
        assert bool(found.shares) == ('stochastic' in name)
    assert all(torch.equal(value, before[name]) for name, value in protected.model.state_dict().items())
    assert scene.reference() == reference


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:Weak cipher')
def test_first_layers_are_learned_where_images_are_encrypted(plain, tmp_path):
    """Signs alone: few enough unknowns for so short an attack."""
    cipher = dict(type='NegativePositive', block_size=4, allow_weak=True)
    _, target, scene = opened(plain, tmp_path / 'out', cipher=cipher)
    reference = scene.reference()
    start = max(reference['no key'], reference['floor'])
    for name in ('un-key', 'un-key-doubly-stochastic', 'fine-tuning-stem'):
        found = carry_out(ATTACKS[name](), target, 5, scene, steps=100)
        assert found.mIoU > start + (reference['correct key'] - start) / 4, name
        if 'stochastic' in name:
            signs = found.shares[0]
            assert (signs.part, signs.right > 0.6) == ('signs', True)


@pytest.mark.parametrize(
    ('name', 'protection'),
    [('weights-alone', {}), ('public-channels', dict(cipher=None, features=dict(stages='all')))],
)
def test_the_public_model_reveals_the_key_of_a_bound_model(name, protection, plain, tmp_path):
    """The weights of the stolen copy, which holds no key, are enough."""
    config, checkpoint = protect_checkpoint(*plain, tmp_path / 'out', **protection)
    protected = ProtectedModel(Config.fromfile(config), str(checkpoint))
    images = TestImages(protected.cfg)
    target = open_target(protected, images, 2, [], read_checkpoint(plain[1])[0])
    scene = HeldOut(protected, images, 2)
    finding = carry_out(ATTACKS[name](), target, 1, scene)
    assert finding.whole_key
    assert finding.mIoU == scene.reference()['correct key']
    assert finding.agreement == 100


def test_a_free_layer_begins_as_no_key(plain, tmp_path):
    protected, target, _ = opened(plain, tmp_path / 'out', features=dict(stages='all'))
    view = target.view(('weights',))
    model = view.stolen()
    install(model, view)
    images = TestImages(protected.cfg)
    with torch.no_grad():
        nothing = model.test_step(images.batch(0))[0].seg_logits.data
    no_key = protected.predict(protected.users.without_key(), images.batch(0)).seg_logits.data
    torch.testing.assert_close(nothing, no_key, atol=1e-3, rtol=1e-4)


def test_rates_are_chosen_on_a_part_of_the_images(plain, tmp_path):
    _, target, scene = opened(plain, tmp_path / 'out', cipher=None, features=dict(stages=(3,)))
    found = carry_out(ATTACKS['un-key'](), target, 5, scene, steps=8, rates=3)
    assert re.fullmatch(r'8 steps on 6 images, at (0.3|1|3) times the usual rates, the best of 3\.', found.sentence)


def test_steps_end_with_the_time_and_a_model_of_ones_own_has_nothing_stolen(plain, tmp_path):
    _, target, scene = opened(plain, tmp_path / 'out', images=2, features=dict(stages='all'))
    alone = ATTACKS['from-scratch']().attack(target, Budget(60, steps=2)).model
    assert type(alone).__name__ == 'EncoderDecoder'
    assert not [name for name in alone.state_dict() if 'protection' in name]
    short = carry_out(ATTACKS['un-key'](), target, 1e-6, scene)
    assert short.sentence == '0 steps on 2 images.'
    assert short.mIoU == scene.reference()['no key']
    assert 0 < short.agreement < 100


def test_what_has_nothing_to_train_with_is_not_applicable(tiny, tmp_path):
    cfg = tiny()
    cfg.model.data_preprocessor.cipher = dict(type='FFX', block_size=4)
    torch.save(dict(state_dict=build_model(cfg).state_dict()), tmp_path / 'ffx.pth')
    protected = ProtectedModel(cfg, str(tmp_path / 'ffx.pth'))
    images = TestImages(protected.cfg)
    target = open_target(protected, images, 6, [])
    finding = carry_out(ATTACKS['un-key-doubly-stochastic'](), target, 1)
    assert finding.sentence == 'Not applicable: the key is no signed permutation of samples or channels.'
    assert not finding.applicable
    assert carry_out(ATTACKS['known-pairs'](), target, 1).sentence.startswith('Not applicable: no image is left')
    cfg.train_dataloader = None
    target = open_target(ProtectedModel(cfg, str(tmp_path / 'ffx.pth')), images, 2, [0])
    for name in ('un-key', 'fine-tuning', 'from-scratch'):
        assert 'no train_dataloader' in carry_out(ATTACKS[name](), target, 1).sentence


def test_a_doubly_stochastic_layer_becomes_a_permutation_with_signs():
    torch.manual_seed(0)
    n = 8
    rng = np.random.default_rng(0)
    source, sign = rng.permutation(n), rng.choice([-1, 1], n)
    layer = torch.nn.Linear(n, n)
    maker = restrict(layer, order=True, signs=True)
    optimizer = torch.optim.Adam(layer.parameters(), 0.1)
    x = torch.randn(64, n)
    wanted = x[:, source] * torch.tensor(sign)
    for _ in range(200):
        optimizer.zero_grad()
        (layer(x) - wanted).square().mean().backward()
        optimizer.step()
    sums = maker.parts().sum(0)
    torch.testing.assert_close(sums.sum(0), torch.ones(n), atol=1e-3, rtol=0)
    torch.testing.assert_close(sums.sum(1), torch.ones(n), atol=0.1, rtol=0)
    found = maker.nearest()
    assert (found.source == source).all()
    assert ((found.mask > 0) == (sign < 0)).all()
    kept = restrict(torch.nn.Linear(n, n), order=False, signs=False).nearest()
    assert (kept.source == np.arange(n)).all()
    assert not kept.mask.any()


def test_the_plain_configuration_of_a_protected_one(tiny):
    cfg = tiny('segformer/segformer_mit-b0_shfnp-b4-stem-features-denial_1xb8-0.4k_camvid-160x160.py')
    plain = unprotected(cfg).model
    assert (plain.type, plain.data_preprocessor.type) == ('EncoderDecoder', 'SegDataPreProcessor')
    assert not {'block_stem', 'feature_encryption', 'denial'} & set(plain)
    assert not {'cipher', 'key'} & set(plain.data_preprocessor)
    assert cfg.model.type == 'KeyedEncoderDecoder'
