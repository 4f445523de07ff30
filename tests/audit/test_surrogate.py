"""Surrogates: the answers are those of the running model, and training on them comes closer to it."""

import json

import pytest
import torch
from mmengine.config import Config
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample

from helpers.private_side import private_side_config
from mmseg_keyprotect.audit.attack import ANSWERS
from mmseg_keyprotect.audit.attacked_model import AttackedModel
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.attacks.surrogate import SurrogateMasks, SurrogateScores
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.run import carry_out, run_audit
from mmseg_keyprotect.audit.target import AttackerData, Target
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.protection.checkpoints import build_model
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import open_model

PLAIN = 'segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py'
SURROGATES = ('surrogate-masks', 'surrogate-scores')


def save(cfg, file):
    """Save a model whose masks show the image: its private part is drawn at random."""
    torch.manual_seed(1)
    model = build_model(cfg)
    model.init_weights()
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    torch.save(dict(state_dict=model.state_dict(), meta={}), file)
    return cfg, str(file)


@pytest.fixture
def private_side(tiny, tmp_path):
    cfg = tiny(PLAIN)
    classes = cfg.model.decode_head.num_classes
    cfg.model = private_side_config(tmp_path).model
    cfg.model.decode_head.num_classes = classes
    return save(cfg, tmp_path / 'private.pth')


def opened(cfg, checkpoint, images=4):
    model = open_model(cfg, checkpoint)
    test_images = TestImages(model.cfg)
    scene = HeldOut(model, test_images, 4)
    return model, open_target(model, test_images, images, scene.indices), scene


def test_an_audit_of_a_private_side_reads_no_weights(private_side, tmp_path):
    attacks = ['from-scratch', 'fine-tuning', *SURROGATES]
    private_side[0].dump(tmp_path / 'own.py')
    options = dict(steps=2, rates=2, queries=6, own_model=Config.fromfile(tmp_path / 'own.py'))
    report = run_audit(*private_side, tmp_path / 'audit', attacks, 5, 4, 4, **options)
    found = {finding.attack: finding for finding in report.findings}
    assert found['fine-tuning'].sentence == 'Not applicable: the private weights are on another machine.'
    assert list(report.reference) == ['whole model', 'floor']
    for name in SURROGATES:
        assert found[name].sentence.startswith('2 steps on answers to 6 crops of 4 images, at ')
        assert found[name].agreement is not None
        assert report.verdict_on(found[name]).endswith('; no key prevents it')
    assert ', whole model ' in report.verdict or 'The whole model is worth nothing here' in report.verdict
    assert 'FALLS' not in report.verdict
    assert 'Whoever gets its answers can train a copy' in report.verdict
    page = (tmp_path / 'audit' / 'audit.html').read_text()
    assert 'own.py' in page
    assert 'key id' not in page


@pytest.mark.parametrize('protect', [False, True])
def test_answers_are_those_of_the_user_with_the_key(protect, private_side, tiny, tmp_path):
    cfg, checkpoint = private_side
    if protect:
        cfg, checkpoint = save(tiny(), tmp_path / 'protected.pth')
    model, target, _ = opened(cfg, checkpoint)
    view = target.view((*ANSWERS, 'plain images'))
    crop = view.training_set[0]['inputs'][:, :50, :41]  # no whole blocks
    mask, scores = view.plain_mask(crop), view.plain_scores(crop)
    assert mask.shape == (1, 50, 41)
    assert torch.allclose(scores.sum(0), torch.ones(50, 41), atol=1e-5)
    assert torch.equal(scores.argmax(0), mask[0])

    def predicted(user):
        sample = SegDataSample(metainfo=dict(img_shape=crop.shape[1:], ori_shape=crop.shape[1:]))
        return model.predict(user, dict(inputs=[crop], data_samples=[sample])).pred_sem_seg.data

    assert torch.equal(mask, predicted(model.users.correct()))
    if protect:
        assert not torch.equal(mask, predicted(model.users.without_key()))


def test_the_answers_of_a_binary_head_keep_its_threshold(private_side, tmp_path):
    cfg, _ = private_side
    cfg.model.decode_head.update(num_classes=2, out_channels=1, threshold=0.3)
    cfg.model.decode_head.loss_decode = dict(type='CrossEntropyLoss', use_sigmoid=True)
    model = open_model(*save(cfg, tmp_path / 'binary.pth'))
    view = Target(None, AttackerData([], []), AttackedModel(model)).view(ANSWERS)
    crop = torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mask, scores = view.plain_mask(crop), view.plain_scores(crop)
    assert torch.equal(mask[0].bool(), scores[1] > 0.3)
    assert ((scores[1] > 0.3) & (scores[1] < 0.5)).any()


def test_scores_are_compared_pixel_by_pixel_whatever_the_size(private_side):
    """A model that learns from its own answers has the entropy of these as its loss, also on padded crops."""
    cfg, checkpoint = private_side
    model, target, _ = opened(cfg, checkpoint)
    view = target.view((*ANSWERS, 'plain images'))
    crops = [view.training_set[0]['inputs'][:, :height, :width] for height, width in ((64, 64), (40, 64), (64, 56))]
    samples, entropy = [], []
    for crop in crops:
        scores = view.plain_scores(crop)
        entropy.append(-(scores * scores.clamp_min(1e-12).log()).sum(0).mean())
        metainfo = dict(img_shape=crop.shape[1:], ori_shape=crop.shape[1:])
        samples.append(SegDataSample(metainfo=metainfo, scores=PixelData(data=scores)))
    data = model.model.data_preprocessor(dict(inputs=crops, data_samples=samples), True)
    whole = SurrogateScores().loss(model.model, dict(inputs=data['inputs'][:1], data_samples=samples[:1]))
    assert torch.allclose(whole, entropy[0], atol=1e-4)
    assert torch.allclose(SurrogateScores().loss(model.model, data), torch.stack(entropy).mean(), rtol=0.2)


@pytest.mark.parametrize('name', SURROGATES)
def test_training_on_answers_comes_closer(name, private_side):
    _, target, scene = opened(*private_side)
    first, last = (carry_out(ATTACKS[name](), target, 5, scene, steps=steps).agreement for steps in (1, 40))
    assert last > first + 10


def test_a_query_always_gets_the_same_crop_and_no_label(private_side):
    _, target, _ = opened(*private_side)
    attack = SurrogateMasks()
    answers = attack.training_set(target.view(attack.needs), Budget(60, queries=40))
    first, other, again = (answers[number] for number in (3, 2, 3))
    assert torch.equal(first['inputs'], again['inputs'])
    assert not torch.equal(first['inputs'], other['inputs'])
    assert answers.queries == 2
    assert first['data_samples'].keys() == ['gt_sem_seg']
    assert [len(part) for part in answers.split()] == [30, 10]
    for number in range(40):
        assert answers[number]
    assert answers.images_used == 4


def test_no_more_crops_are_asked_about_than_allowed(private_side, monkeypatch):
    _, target, _ = opened(*private_side)
    asked = []
    answer = target.attacked.answer
    monkeypatch.setattr(target.attacked, 'answer', lambda crop: asked.append(crop.numpy().tobytes()) or answer(crop))
    found = carry_out(ATTACKS['surrogate-masks'](), target, 5, steps=4, rates=2, queries=6)
    assert len(set(asked)) == found.queries <= 6 < len(asked)


def test_an_own_model_is_trained_in_the_place_of_one_like_the_victim(private_side, tiny):
    model, _, scene = opened(*private_side)
    own = tiny(PLAIN)
    target = open_target(model, TestImages(model.cfg), 4, scene.indices, own_model=own)
    result = ATTACKS['from-scratch']().run(target.view(('plain images', 'labels')), Budget(60, steps=1))
    assert type(result.model.backbone).__name__ == own.model.backbone.type
    own.model.auxiliary_head = dict(type='FCNHead', num_classes=own.model.decode_head.num_classes + 1)
    with pytest.raises(ConfigError, match=r'Expected an own model of the same \d+ classes'):
        open_target(model, TestImages(model.cfg), 4, scene.indices, own_model=own)


def test_an_own_model_that_learns_edges(private_side, tiny):
    model, target, scene = opened(*private_side)
    own = tiny(PLAIN)
    own.model.decode_head = dict(type='PIDHead', num_classes=own.model.decode_head.num_classes)
    with pytest.raises(ConfigError, match='PIDHead needs their edges'):
        open_target(model, TestImages(model.cfg), 4, scene.indices, own_model=own)
    target.data.own_model = own
    found = carry_out(ATTACKS['surrogate-masks'](), target, 1, scene, steps=1)
    assert found.sentence == 'Not applicable: the own model learns edges of labels too, which masks do not come with.'


def test_the_command_passes_its_options(private_side, tiny, tmp_path, capsys):
    cfg, checkpoint = private_side
    cfg.dump(tmp_path / 'side.py')
    tiny(PLAIN).dump(tmp_path / 'own.py')
    words = ['audit', str(tmp_path / 'side.py'), checkpoint, '--attacks', 'surrogate-masks', '--queries', '3']
    words += ['--own-model', str(tmp_path / 'own.py'), '--images', '2', '--steps', '1', '--rates', '1']
    main([*words, '--held-out', '2', '-o', str(tmp_path / 'audit')])
    assert 'surrogate-masks: 1 steps on answers to 3 crops of 2 images.' in capsys.readouterr().out
    facts = json.loads((tmp_path / 'audit' / 'audit.json').read_text())['facts']
    assert (facts['own model'], facts['queries']) == ('own.py', 'at most 3 crops that the running model answers')
