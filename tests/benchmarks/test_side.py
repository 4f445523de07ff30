"""Attacks on a private side: answers are those of the victim, and training on them works."""

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample

from benchmarks.paper.side_attack import Answers, score_loss
from benchmarks.paper.side_cells import shares
from benchmarks.paper.side_tables import CAMVID, WIDTHS, prices, surrogates
from helpers.private_side import private_side_config, save_private_side
from mmseg_keyprotect.audit.budget import Budget
from mmseg_keyprotect.audit.training import BATCH, AttackerTrainingSet, segmentation_loss, train
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint


class Crops(AttackerTrainingSet):
    """Crops of noise in the place of images."""

    def __init__(self):
        super().__init__(None, {}, [0])

    def draw(self, rng):
        crops = [torch.from_numpy(rng.integers(256, size=(3, 64, 64), dtype=np.uint8)) for _ in range(BATCH)]
        samples = [SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64))) for _ in crops]
        return pseudo_collate([dict(inputs=crop, data_samples=one) for crop, one in zip(crops, samples, strict=True)])


@pytest.fixture(scope='module')
def victim(tmp_path_factory):
    cfg, checkpoint = save_private_side(tmp_path_factory.mktemp('victim'))
    model = build_model(cfg)
    load_strictly(model, read_checkpoint(checkpoint)[0])
    return cfg, model


def same_pixels(model, other, crops):
    with torch.no_grad():
        masks = [one.eval()(crops, mode='tensor').argmax(1) for one in (model, other)]
    return float((masks[0] == masks[1]).float().mean())


@pytest.mark.parametrize('scores', [False, True])
def test_answers_are_those_of_the_victim(victim, scores):
    model = victim[1]
    answers = Answers(model, Crops(), 6, scores)
    assert len(answers._crops) == 6
    for one in answers._crops:
        with torch.no_grad():
            logits = model(model.data_preprocessor(dict(inputs=[one['inputs']]), False)['inputs'], mode='tensor')
        if scores:
            assert torch.allclose(one['data_samples'].answer.data.float(), logits[0].softmax(0), atol=1e-3)
        else:
            whole = torch.nn.functional.interpolate(logits, (64, 64), mode='bilinear', align_corners=False)
            assert torch.equal(one['data_samples'].gt_sem_seg.data, whole.argmax(1))


@pytest.mark.parametrize('scores', [False, True])
def test_training_on_answers_comes_closer_to_the_victim(victim, scores):
    cfg, model = victim
    torch.manual_seed(3)
    own = MODELS.build(cfg.model)
    own.init_weights()
    crops = model.data_preprocessor(dict(inputs=Crops().draw(np.random.default_rng(9))['inputs']), False)['inputs']
    before = same_pixels(own, model, crops)
    optimizer = torch.optim.AdamW([one for one in own.parameters() if one.requires_grad], 0.01)
    loss = score_loss if scores else segmentation_loss
    train(own.train(), optimizer, Answers(model, Crops(), 16, scores), Budget(60, steps=30), loss=loss)
    assert same_pixels(own, model, crops) > max(before, 0.5) + 0.1


def test_shares_count_every_parameter_once(tmp_path):
    cfg = private_side_config(tmp_path)
    model, found = build_model(cfg), shares(cfg)
    assert found['public_parameters'] == sum(one.numel() for one in model.backbone.parameters())
    assert found['public_parameters'] + found['private_parameters'] == sum(one.numel() for one in model.parameters())
    assert found['feature_values'] == 8 * 16**2 + 16 * 8**2 + 32 * 4**2 + 64 * 2**2
    assert min(found['public_macs'], found['private_macs']) > 1e5


def test_the_rows_of_the_tables():
    (_, camvid), (_, attacks) = prices(CAMVID, (0, 1, 2)), surrogates(CAMVID)
    assert len(camvid) == 3 + len(WIDTHS)
    names = [cell.name for row in [*camvid, *attacks] for cell in row.cells]
    assert len(names) == len(set(names))
