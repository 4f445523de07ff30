"""Tables on private sides: what counts as the private part, and the rows."""

import json
from pathlib import Path
from statistics import mean

from mmseg.registry import DATASETS

from benchmarks.paper import cells
from benchmarks.paper.cells import Training
from benchmarks.paper.side_cells import RATE, PrivateSide, Whole, shares
from benchmarks.paper.side_tables import (
    CAMVID,
    SEEDS,
    VOC,
    WHOLE_RATE,
    by_rate,
    price_rows,
    price_table,
    rate_rows,
    trials,
)
from benchmarks.paper.surrogate_tables import FROM_SCRATCH, LONG, SHORT, surrogate_table, surrogates
from helpers import ROOT
from helpers.private_side import private_side_config
from mmseg_keyprotect.config.edit import set_data_root
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.protection.checkpoints import build_model


def test_shares_count_every_parameter_once(tmp_path):
    cfg = private_side_config(tmp_path)
    model, found = build_model(cfg), shares(cfg)
    assert found['public_parameters'] == sum(one.numel() for one in model.backbone.parameters())
    assert found['public_parameters'] + found['private_parameters'] == sum(one.numel() for one in model.parameters())
    assert found['feature_values'] == 8 * 16**2 + 16 * 8**2 + 32 * 4**2 + 64 * 2**2
    assert min(found['public_macs'], found['private_macs']) > 1e5


def test_the_rows_of_the_tables():
    prices, (_, attacks) = [*price_rows(CAMVID), *trials()], surrogates(VOC, 330)
    names = [cell.name for row in [*prices, *price_rows(VOC, WHOLE_RATE), *rate_rows(VOC)] for cell in row.cells]
    names += [f'{cell.name} {row.attack}' for row in attacks for cell in row.cells]
    assert len(names) == len(set(names))


def test_a_training_that_chooses_a_rate_is_measured_on_images_that_it_never_sees(tmp_path, monkeypatch, real_data):
    monkeypatch.setattr(cells, 'WORK', tmp_path)
    monkeypatch.chdir(ROOT)
    voc = real_data('voc2012_val440')
    names = set((voc / 'ImageSets' / 'Segmentation' / 'train.txt').read_text().split())
    for cell in (row.cells[0] for row in rate_rows(VOC)):
        cfg = load_quietly(cell.source())
        set_data_root(cfg, str(voc))
        loaders = (cfg[f'{name}_dataloader'].dataset for name in ('train', 'val', 'test'))
        trained, validated, tested = (
            {Path(one.get_data_info(number)['img_path']).stem for number in range(len(one))}
            for one in map(DATASETS.build, loaders)
        )
        assert validated == tested == names - trained
        assert len(trained) == 4 * len(tested)
        assert cell.seed not in SEEDS


def test_the_rates_of_the_tables_are_the_best_ones(monkeypatch):
    monkeypatch.chdir(ROOT)
    best = {}
    for row in rate_rows(VOC):
        assert all(cell.read() for cell in row.cells)
        means = {rate: mean(scores) for rate, scores in by_rate(row).items() if scores}
        assert len(means) > 2
        best[row.label] = max(means, key=means.__getitem__)
    whole, *private = best.values()
    assert whole == WHOLE_RATE
    assert set(private) == {RATE}


def test_a_price_is_that_of_the_same_model_seed_and_length(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, 'CELLS', tmp_path)
    rows = [*price_rows(CAMVID), *trials()]
    scores = {Whole: 50.0, Training: 40.0, PrivateSide: 45.0}
    for cell in (cell for row in rows for cell in row.cells):
        length = getattr(cell, 'iterations', None) or 300
        score = scores[type(cell)] + length / 100 - 20 * ('pspnet' in cell.config) + cell.seed
        parts = {f'{side}_{what}': 1 for side in ('public', 'private') for what in ('parameters', 'macs')}
        found = dict(config=cell.config, seed=cell.seed, iterations=length, mIoU=score)
        cell.file.write_text(json.dumps(found | (parts if isinstance(cell, PrivateSide) else {})))
    lines = [[word.strip() for word in line.split('|')[1:4]] for line in price_table(rows).splitlines()[2:]]
    assert {price for label, _, price in lines if 'as a whole' not in label} == {'5.0 ± 0.0'}
    assert {price for label, _, price in lines if 'as a whole' in label} == {'', '10.0 ± 0.0'}


def test_multiples_of_the_bounds(tmp_path, monkeypatch):
    """Of two bounds: the fewest labels, and all labels with as many steps as the attack has."""
    monkeypatch.setattr(cells, 'CELLS', tmp_path)
    _, rows = surrogates(VOC, 330)
    bounds = {(8, SHORT): 5.0, (40, SHORT): 7.0, (330, SHORT): 10.0, (330, LONG): 20.0}
    for row in rows:
        (cell,) = row.cells
        score = bounds[cell.images, cell.steps] if row.attack == FROM_SCRATCH else 30.0
        one = dict(mIoU=score, agreement=80.0, queries=cell.queries)
        cell.file.write_text(json.dumps(dict(reference={'whole model': 40.0}, attacks={row.attack: one})))
    lines = {line.split('|')[1].strip(): line.split('|')[2:] for line in surrogate_table(rows).splitlines()[2:]}
    found = {label: [word.strip() for word in line[3:5]] for label, line in lines.items()}
    assert found['masks for at most 500 crops'] == ['6.00', '3.00']
    assert found['masks for at most 5000 crops'] == ['6.00', '1.50']
    assert found[f'330 labelled images, {LONG} steps: the bound'] == ['4.00', '1.00']
