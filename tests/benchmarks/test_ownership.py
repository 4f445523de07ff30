"""Attacks on marked copies: what is said to compute the same does, and the cells give what the tables show."""

import pytest
import torch
from mmengine.config import Config

from benchmarks.paper import ownership_cells
from benchmarks.paper.ownership_attacks import ATTACKS, Copies
from benchmarks.paper.ownership_cells import foreign, survival
from benchmarks.paper.reordering import reordered_mobilenet, reordered_segformer
from helpers import ROOT
from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.protection.checkpoints import build_model

MODELS = {
    'segformer': ('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py', reordered_segformer),
    'deeplabv3': ('deeplabv3/deeplabv3_mobilenet-v2-d16_voc440-516x516.py', reordered_mobilenet),
}


def model_of(name):
    torch.manual_seed(0)
    cfg = load_config(ROOT / 'configs' / name)
    cfg['model']['backbone'].update(init_cfg=None)
    model = build_model(Config(cfg))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return model


@pytest.mark.parametrize(('config', 'reorder'), MODELS.values(), ids=MODELS)
@torch.no_grad()
def test_a_reordered_network_computes_the_same(config, reorder):
    model, image = model_of(config), torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    before, state = model._forward(image), model.state_dict()
    moved = reorder(state)
    assert sum(not torch.equal(moved[name], state[name]) for name in state) > 60
    model.load_state_dict(moved)
    after = model._forward(image)
    torch.testing.assert_close(after, before, atol=1e-4 * before.abs().max().item(), rtol=0)


def test_every_attack_and_the_foreign_scores(tmp_path, key, monkeypatch):
    state = model_of(MODELS['deeplabv3'][0]).state_dict()
    small = {name: tensor for name, tensor in state.items() if 'layer' not in name or 'layer1.' in name}
    copies = Copies(small, key, 0.003)
    for attack, (count, change) in ATTACKS.items():
        attacked = change(copies)
        assert set(attacked) == set(small)
        if count == 1 and attack != 'untouched':
            assert not all(torch.equal(attacked[name], tensor) for name, tensor in copies.take(1)[0].items()), attack
    key.save(tmp_path / 'a.key')
    torch.save(small, tmp_path / 'a.pth')
    found = survival('', tmp_path / 'a.pth', tmp_path / 'a.key', 'average of 5 copies', False)
    assert min(found['z_0.001'], found['z_0.003']) > 100
    assert 'mIoU' not in found
    monkeypatch.setattr(ownership_cells, 'FOREIGN', 50)
    found = foreign(tmp_path / 'a.pth', tmp_path / 'a.key', None)
    assert 0.5 < found['highest'] < 6
    assert 0.7 < found['deviation'] < 1.3
