"""Tables on private sides: what counts as the private part, and the rows."""

from benchmarks.paper.side_cells import Whole, shares
from benchmarks.paper.side_tables import CAMVID, VOC, prices, surrogates
from helpers.private_side import private_side_config
from mmseg_keyprotect.protection.checkpoints import build_model


def test_shares_count_every_parameter_once(tmp_path):
    cfg = private_side_config(tmp_path)
    model, found = build_model(cfg), shares(cfg)
    assert found['public_parameters'] == sum(one.numel() for one in model.backbone.parameters())
    assert found['public_parameters'] + found['private_parameters'] == sum(one.numel() for one in model.parameters())
    assert found['feature_values'] == 8 * 16**2 + 16 * 8**2 + 32 * 4**2 + 64 * 2**2
    assert min(found['public_macs'], found['private_macs']) > 1e5


def test_the_rows_of_the_tables():
    (_, camvid), (_, attacks) = prices(CAMVID, (0, 1, 2)), surrogates(VOC, 330)
    assert [row.label for row in camvid if isinstance(row.cells[0], Whole)] == [camvid[0].label, camvid[-2].label]
    names = [cell.name for row in camvid for cell in row.cells]
    names += [f'{cell.name} {row.attack}' for row in attacks for cell in row.cells]
    assert len(names) == len(set(names))
