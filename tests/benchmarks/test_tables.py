"""Runs small cells for real, and compares the tables with the results of the cells."""

import json
import shutil

import pytest
import torch

from benchmarks.paper import audit_cells, cells, feature_cells, watermark_cells
from benchmarks.paper.audit_cells import Audit, FineTuned
from benchmarks.paper.audit_models import audit
from benchmarks.paper.audit_tables import audit_table, budget_table, cost_table, draw_budgets, draw_costs, half_way
from benchmarks.paper.cells import Binding, Training, find_config, protection
from benchmarks.paper.feature_cells import Features, FewImages, UnKeyAttack
from benchmarks.paper.reproduce import TABLES, page_of
from benchmarks.paper.tables import Row, binding_table, feature_table, training_table, watermark_table, write_table
from benchmarks.paper.watermark_cells import Suspect
from helpers import ROOT
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.protection.checkpoints import read_checkpoint


@pytest.fixture
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.fixture
def own_folders(at_root, tmp_path, monkeypatch):
    """Folders for results, work files and configs of this test alone."""
    for name in ('CELLS', 'WORK', 'CONFIGS'):
        monkeypatch.setattr(cells, name, tmp_path / name.lower())
    monkeypatch.setattr(cells, 'WRONG_KEYS', 2)
    return tmp_path


@pytest.fixture
def tiny_config(own_folders, tiny):
    """Name of an unprotected config of two iterations, with the protections beside it; ``{}`` stands for one."""
    folder = own_folders / 'configs'
    (folder / 'tiny').mkdir(parents=True)
    shutil.copytree(ROOT / 'configs' / '_base_' / 'protections', folder / '_base_' / 'protections')
    cfg = tiny('segformer/segformer_mit-b0_1xb8-0.4k_demo-128x128.py')
    cfg.test_dataloader = cfg.val_dataloader
    cfg.dump(folder / 'tiny' / 'tiny_mit-b0_demo.py')
    return 'tiny_mit-b0{}_demo'


@pytest.mark.slow
def test_trainings_and_a_binding(tiny_config, own_folders):
    plain, protected = Training(tiny_config.format('')), Training(tiny_config.format('_np-b8'))
    assert protected.read() is None
    plain.run()
    protected.run()
    assert plain.read()['iterations'] == 2
    assert 'leak' not in plain.read()
    result = protected.read()
    assert result['cipher'] == 'negative-positive/M=8'
    assert len(result['wrong_keys']) == 2
    table = training_table([Row('plain', [plain]), Row('protected', [protected]), Row('later', [Training('x', 1)])])
    assert f'| {result["mIoU"]:.2f} |' in ' '.join(table.split())
    assert ' '.join(table.splitlines()[-1].split()).startswith('| later | missing | missing')

    bound = Binding(tiny_config.format(''))
    bound.run()
    assert bound.read()['exact']['plain'] == bound.read()['grey']['plain'] == plain.read()['mIoU']
    assert (
        abs(bound.read()['exact']['protected'] - plain.read()['mIoU']) < 1
    )  # the scenes are not a multiple of the block
    assert f'{bound.read()["no_key"]:.2f}' in binding_table([Row('bound', [bound])])
    written = ''.join(file.read_text() for file in (own_folders / 'cells').iterdir())
    assert str(own_folders) not in written


@pytest.mark.slow
def test_encrypted_feature_maps_and_an_attack_on_them(tiny_config, own_folders, monkeypatch):
    monkeypatch.setattr(feature_cells, 'STEPS', 2)
    name = tiny_config.format('')
    bound, trained = Features(name, places=('0', '3')), Features(name, trained=True, cipher=('shuffle',))
    attack, alone = UnKeyAttack(name, 0, bound, 2), FewImages(name, 0, 2)
    for cell in (bound, trained, attack, alone):
        cell.run()
    assert bound.read()['cipher'] == 'feature-shuffle+feature-sign/stages=0-3/C=32-256'
    assert trained.read()['cipher'] == 'shuffle/M=4,feature-shuffle+feature-sign/stages=all/C=32-64-160-256'
    assert (attack.read()['images'], attack.read()['steps'], alone.read()['images']) == (2, 2, 2)
    table = feature_table([Row('bound', [bound, UnKeyAttack(name, 0, bound, 8)]), Row('later', [FewImages('x', 0, 8)])])
    assert f'| {bound.read()["mIoU"]:.2f} |' in ' '.join(table.split())
    assert ' '.join(table.splitlines()[-1].split()).startswith('| later | missing | missing')


@pytest.mark.slow
def test_attacks_and_their_tables(tiny_config, own_folders, monkeypatch):
    monkeypatch.setattr(audit_cells, 'FINE_TUNED', 2)
    monkeypatch.setattr(audit_cells, 'HELD_OUT', 2)
    tuned = FineTuned(tiny_config.format(''), places=(), cipher=('shuffle', 'negative-positive'))
    attacks = ('weights-alone', 'public-channels', 'from-scratch')
    cells = [audit(tuned, attacks, 'all', images=count, steps=2, public=True) for count in (1, 2)]
    for cell in cells:
        cell.run()
    result = cells[0].read()
    assert list(result['attacks']) == list(attacks)
    assert result['attacks']['from-scratch']['sentence'] == '2 steps on 1 image.'
    weights = result['attacks']['weights-alone']
    table = audit_table(attacks, [Row('tuned', cells), Row('later', [Audit('x', 1, of=Training('x'))])])
    row = ' '.join(next(line for line in table.splitlines() if 'tuned' in line).split())
    assert row.startswith(f'| tuned | {result["reference"]["correct key"]:.1f} |')
    assert f'{weights["mIoU"]:.1f} (order {100 * weights["shares"][0]["right"]:.0f}%' in row
    assert ' - |' in row  # no feature maps are encrypted
    assert table.splitlines()[-1].count('missing') == 5
    costs = cost_table([Row('tuned', cells)])
    assert '| tuned: from-scratch' in costs
    assert ' 1 image |' in costs
    budgets = budget_table([Row('tuned', cells[:1])])
    own = result['attacks']['from-scratch']
    assert f'| {own["mIoU"]:.1f} (1.00 x, {own["agreement"]:.0f}%) |' in ' '.join(budgets.split())
    assert 'public-channels' not in budgets
    draw_budgets([Row('tuned', cells)], own_folders / 'budgets.png')
    assert (own_folders / 'budgets.png').read_bytes().startswith(b'\x89PNG')
    draw_costs([Row('tuned', cells)], own_folders / 'costs.png')
    assert (own_folders / 'costs.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.slow
def test_a_watermark_and_attacks_on_it(tiny_config, own_folders, monkeypatch):
    monkeypatch.setattr(watermark_cells, 'ITERATIONS', 2)
    monkeypatch.setattr(watermark_cells, 'QUESTIONS', ('--count', 1, '--random-keys', 2, '--seed', 1))
    steps = ((), ('tune',), ('mark',), ('mark', 'prune50'), ('mark', 'pirate'))
    cells = [Suspect(tiny_config.format(''), 0, done) for done in steps]
    for cell in cells:
        cell.run()
    assert ['pirate' in cell.read() for cell in cells] == [False] * 4 + [True]
    checkpoints = [read_checkpoint(cell.checkpoint())[0] for cell in cells]
    zeros = [sum(int((value == 0).sum()) for value in state.values() if value.ndim > 1) for state in checkpoints]
    total = sum(value.numel() for value in checkpoints[3].values() if value.ndim > 1)
    assert zeros[2] < 0.01 * total
    assert zeros[3] == pytest.approx(0.5 * total, rel=0.01)
    for first, second in ((0, 1), (0, 2), (2, 4)):
        assert any(not torch.equal(value, checkpoints[second][name]) for name, value in checkpoints[first].items())
    table = watermark_table([Row('marked', cells[2:3]), Row('later', [Suspect('x', 1)])])
    assert f'| {cells[2].read()["owner"]["own"]:.1f} |' in ' '.join(table.split())


@pytest.mark.parametrize('verdict', ['not tried', 'not applicable'])
def test_an_attack_that_is_not_applicable_has_no_figures(verdict, own_folders):
    """Results from before the verdict was renamed are shown as those from after it."""
    found = dict(verdict=verdict, shares=[], mIoU=None, seconds=0.0)
    other = dict(verdict='held', shares=[], mIoU=3.0, seconds=2.0)
    cell = Audit('x', of=Training('x'))
    cell.file.parent.mkdir()
    reference = {'correct key': 30.0, 'no key': 5.0, 'floor': 2.0}
    cell.file.write_text(json.dumps(dict(reference=reference, attacks={'un-key': found, 'fine-tuning': other})))
    table = audit_table(('un-key', 'fine-tuning'), [Row('x', [cell])])
    assert ' '.join(table.splitlines()[-1].split()) == '| x | 30.0 | 5.0 | - | 3.0, 2 s |'


def test_half_way_lies_between_two_numbers_of_images():
    assert half_way({1: 10.0, 100: 30.0}, 20.0) == '10'
    assert half_way({1: 10.0, 100: 30.0}, 9.0) == '1 or fewer'
    assert half_way({1: 10.0, 100: 30.0}, 31.0) == 'more than 100'


def test_a_failed_cell_names_its_log(own_folders):
    (own_folders / 'configs' / 'a').mkdir(parents=True)
    (own_folders / 'configs' / 'a' / 'broken.py').write_text('model = (')
    with pytest.raises(RuntimeError, match=r'train\.log'):
        Training('broken').run()
    assert not Training('broken').file.exists()


@pytest.mark.parametrize('name', list(TABLES))
def test_the_page_shows_the_cells(name, at_root):
    """Every table of docs/results.md and docs/security/audit.md is generated from the cells."""
    page = (ROOT / page_of(name)).read_text()
    make, rows = TABLES[name]
    assert f'<!-- table {name} -->' in page
    assert write_table(page, name, make(rows)) == page


@pytest.mark.parametrize('name', list(TABLES))
def test_every_cell_has_its_configuration(name, at_root):
    for cell in (cell for row in TABLES[name][1] for cell in row.cells):
        word = protection(cell.config)
        assert find_config(cell.config) or find_config(cell.config.replace(f'_{word}', ''))
        assert not word or '-stem' in word or (cells.CONFIGS / '_base_' / 'protections' / f'{word}.py').exists()


def test_no_cell_is_an_orphan(at_root):
    """Every result file belongs to a table."""
    known = {cell.file.name for _, rows in TABLES.values() for row in rows for cell in row.cells}
    found = {file.name for file in cells.CELLS.glob('*.json')}
    assert found <= known
    for file in cells.CELLS.glob('*.json'):
        assert json.loads(file.read_text())['config'] in file.name


def test_a_page_and_its_marks():
    for page in ('a\n', 'a\n<!-- table bound -->\nold\n'):
        with pytest.raises(ConfigError, match='lacks them'):
            write_table(page, 'bound', 'b')
    page = 'a\n<!-- table bound -->\nold\n<!-- end -->\nz\n'
    assert write_table(page, 'bound', 'new') == 'a\n<!-- table bound -->\nnew\n<!-- end -->\nz\n'
