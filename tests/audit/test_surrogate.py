"""Surrogates: the answers are those of the running model, and training on them comes closer to it."""

from dataclasses import replace

import pytest
import torch
from mmseg.structures import SegDataSample

from helpers.private_side import private_side_config
from mmseg_keyprotect.audit.attacks import ATTACKS
from mmseg_keyprotect.audit.attacks.surrogate import SurrogateMasks
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.held_out import HeldOut
from mmseg_keyprotect.audit.open_target import open_target
from mmseg_keyprotect.audit.run import carry_out, run_audit
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
    report = run_audit(*private_side, tmp_path / 'audit', attacks, 5, 4, 4, steps=2, rates=2, queries=6)
    found = {finding.attack: finding for finding in report.findings}
    assert found['fine-tuning'].sentence == 'Not applicable: the private weights are on another machine.'
    assert list(report.reference) == ['whole model', 'floor']
    for name in SURROGATES:
        assert found[name].sentence.startswith('2 steps on answers to 6 crops of 4 images, at ')
        assert 0 < found[name].queries <= 6
        assert found[name].agreement is not None
    assert 'whole model' in report.verdict
    assert 'key' not in report.verdict
    page = (tmp_path / 'audit' / 'audit.html').read_text()
    assert 'a private side on another machine' in page


@pytest.mark.parametrize('protect', [False, True])
def test_answers_are_those_of_the_user_with_the_key(protect, private_side, tiny, tmp_path):
    cfg, checkpoint = private_side
    if protect:
        cfg, checkpoint = save(tiny(), tmp_path / 'protected.pth')
    model, target, _ = opened(cfg, checkpoint)
    view = target.view(('masks of plain images', 'scores of plain images', 'plain images'))
    crop = view.training_set[0]['inputs']
    mask, scores = view.plain_masks(crop[None]), view.plain_scores(crop[None])
    assert torch.allclose(scores.sum(1), torch.ones_like(scores[:, 0]), atol=1e-5)

    def predicted(user):
        sample = SegDataSample(metainfo=dict(img_shape=crop.shape[1:], ori_shape=crop.shape[1:]))
        return model.predict(user, dict(inputs=[crop], data_samples=[sample])).pred_sem_seg.data

    assert torch.equal(mask, predicted(model.users.correct()))
    if protect:
        assert not torch.equal(mask, predicted(model.users.without_key()))


@pytest.mark.parametrize('name', SURROGATES)
def test_training_on_answers_comes_closer(name, private_side):
    _, target, scene = opened(*private_side)
    first, last = (carry_out(ATTACKS[name](), target, 5, scene, steps=steps).agreement for steps in (1, 40))
    assert last > first + 10


def test_a_query_always_gets_the_same_crop(private_side):
    _, target, _ = opened(*private_side)
    attack = SurrogateMasks()
    answers = attack._answers(target.view(attack.needs), 6)
    first, other, again = (answers[number] for number in (3, 2, 3))
    assert torch.equal(first['inputs'], again['inputs'])
    assert not torch.equal(first['inputs'], other['inputs'])
    assert answers.asked == {2, 3}
    assert [len(part) for part in answers.split()] == [4, 2]


def test_an_own_model_is_trained_in_the_place_of_one_like_the_victim(private_side, tiny):
    model, _, scene = opened(*private_side)
    own = tiny(PLAIN)
    target = open_target(model, TestImages(model.cfg), 4, scene.indices, own_model=own)
    result = ATTACKS['from-scratch']().run(target.view(('plain images', 'labels')), Budget(60, steps=1))
    assert type(result.model.backbone).__name__ == own.model.backbone.type
    own.model.decode_head.num_classes += 1
    with pytest.raises(ConfigError, match=r'Expected an own model of the same \d+ classes'):
        open_target(model, TestImages(model.cfg), 4, scene.indices, own_model=own)


def test_a_pipeline_with_edges_of_labels_is_not_applicable(private_side):
    _, target, scene = opened(*private_side)
    own = target.data.training_set
    pipeline = [*own.source['pipeline'], dict(type='GenerateEdge')]
    target.data.training_set = replace(own, source=dict(own.source, pipeline=pipeline))
    found = carry_out(ATTACKS['surrogate-masks'](), target, 1, scene, steps=1)
    assert found.sentence == 'Not applicable: the model is trained on edges of labels, which answers do not have.'
