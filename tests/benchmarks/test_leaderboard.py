"""The leaderboard's cells and table, and what an attacker does to a stolen model first."""

import json
import sys

import pytest
import torch
from mmengine.config import Config
from torch import nn

from benchmarks.paper import cells
from benchmarks.paper.rival_models import leaderboard
from benchmarks.paper.rival_tables import FIELDS, leaderboard_table
from benchmarks.paper.rivals import RIVALS, bindings
from benchmarks.paper.rivals.preparation import plain_config, recalibrate, whole_names
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.protection.checkpoints import build_model

CONFIG = 'deeplabv3plus_mobilenet-v2-d16_1xb8-0.3k_camvid-160x160'


def lines(table):
    return {line.split('|')[1].strip(): [one.strip() for one in line.split('|')[2:-1]] for line in table.splitlines()}


@pytest.fixture
def rows(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, 'CELLS', tmp_path)
    return leaderboard(CONFIG)


def test_every_rival_has_a_row_and_every_cell_a_name_of_its_own(rows):
    attacked = {cell.rival for row in rows for cell in row.cells if hasattr(cell, 'rival')}
    assert attacked == set(RIVALS)
    every = {cell for row in rows for cell in row.cells}
    assert len({cell.name for cell in every}) == len(every)


def test_cells_without_a_result_are_not_run(rows):
    table = lines(leaderboard_table(rows))
    assert table['ShadowNet'][:5] == ['not run', '', '', 'not run', '']
    assert table['ours: every stage'][5] == 'not run'
    assert table['HPNN, signs in the gains'][5] == ''


def test_each_result_is_in_its_column(rows):
    def write(cell):
        result = dict(mIoU=float(len(cell.name) % 7 + 1), error=0.012)
        if getattr(cell, 'attack', '') == 'access':
            result = dict(plain=40.0, mIoU=39.0, alone=2.0, hidden_bytes=1234, file_bytes=5_000_000)
        elif hasattr(cell, 'bound'):
            names = [*RIVALS, *(of.name for of in cell.bound)]
            result = dict(ratios={name: 1.0 + 0.1 * number for number, name in enumerate(names)})
        elif hasattr(cell, 'attacks'):
            found = {name: dict(mIoU=10.0 + number) for number, name in enumerate(cell.attacks)}
            result = dict(reference={'correct key': 40.0, 'no key': 3.0}, attacks=found)
        cell.file.write_text(json.dumps(result))

    for row in rows:
        for cell in row.cells:
            write(cell)
    text = leaderboard_table(rows)
    assert 'not run' not in text
    table = lines(text)
    assert table['unprotected'] == ['40.0', *[''] * (len(FIELDS) - 1)]
    assert table['ours: sealed file'][:5] == ['40.0', '0.0', '', '', '5,000 kB']
    assert table['nothing stolen: the black-box bound'][5:7] == ['12.0', '10.0']
    assert table['GroupCover'][:5] == ['39.0', '1.0', '2.0', '1.40', '1.2 kB']
    assert table['nothing stolen: the black-box bound'][-1].startswith('itself ')
    assert table['GroupCover'][-1].endswith(' (1.2% off)')
    images = table['ours: block stem, images alone']
    assert images == [
        '40.0',
        '0.0',
        '3.0',
        '1.60',
        '32 B',
        '13.0',
        '11.0',
        '10.0',
        '11.0',
        '',
        '**13.0**: fine-tuning, 8 images',
        '',
    ]


def test_norms_without_statistics_get_those_of_the_images():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.unit = nn.Sequential()
            self.unit.bn = nn.BatchNorm2d(3)
            self.other = nn.BatchNorm2d(3)

        def data_preprocessor(self, data, training):
            return data

        def forward(self, inputs, mode):
            return self.other(self.unit.bn(inputs))

    class Images:
        def draw(self, rng):
            return dict(inputs=5 + 2 * torch.randn(4, 3, 16, 16))

    model = Model().eval()
    nn.init.constant_(model.unit.bn.weight, 9.0)
    recalibrate(model, ['unit'], Images())
    assert torch.allclose(model.unit.bn.running_mean, torch.tensor(5.0), atol=0.3)
    assert torch.allclose(model.unit.bn.running_var, torch.tensor(4.0), atol=0.5)
    assert torch.equal(model.unit.bn.weight, torch.ones(3))
    assert torch.equal(model.other.running_mean, torch.zeros(3)), 'a norm that has statistics keeps them'
    assert not model.unit.bn.training


def test_weights_of_a_backbone_alone_get_its_prefix():
    model = nn.Module()
    model.backbone = nn.Linear(2, 2)
    weights = dict(model.backbone.state_dict())
    assert set(whole_names(weights, model)) == set(whole_names(model.state_dict(), model)) == set(model.state_dict())


def test_attackers_train_the_plain_head():
    head = dict(type='PassportHead', passport_seed=3, channels=8)
    cfg = Config(dict(model=dict(decode_head=head)))
    assert plain_config(cfg).model.decode_head == dict(type='DepthwiseSeparableASPPHead', channels=8)
    assert cfg.model.decode_head.type == 'PassportHead'


def test_both_keys_of_a_bound_model_are_used_together(tiny, key_file, tmp_path, monkeypatch):
    """Beside the model that it was made from, a bound model is worth as much as with its key."""
    cfg = tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py')
    cfg.test_dataloader = cfg.val_dataloader
    cfg.dump(tmp_path / 'plain.py')
    torch.manual_seed(0)
    torch.save(dict(state_dict=build_model(cfg).state_dict()), tmp_path / 'plain.pth')
    bound = protect_checkpoint(
        tmp_path / 'plain.py', tmp_path / 'plain.pth', tmp_path / 'out', features=dict(stages=(3,))
    )
    words = [*bound, '--images', 2, '--held-out', 2, '--public', tmp_path / 'plain.pth', '-o', tmp_path / 'found.json']
    monkeypatch.setattr(sys, 'argv', ['bindings', *map(str, words)])
    bindings.main()
    found = json.loads((tmp_path / 'found.json').read_text())
    assert found['mIoU'] == found['plain']
    assert set(found['shares'].values()) == {1.0}
    assert {name.split(':')[0] for name in found['shares']} == {'weights-alone', 'public-channels'}
