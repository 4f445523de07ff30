"""SideNetwork: shapes, widths, and a start that changes nothing."""

import pytest
import torch
from mmseg.models.necks import FPN  # noqa: F401  any neck works
from mmseg.registry import MODELS

from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models import SideNetwork


def maps(channels=(24, 32, 96), sides=(20, 10, 10)):
    return [torch.randn(2, count, side, side) for count, side in zip(channels, sides, strict=True)]


def test_it_begins_as_no_change():
    side, features = SideNetwork([24, 32, 96]), maps()
    assert all(torch.equal(*pair) for pair in zip(features, side(features), strict=True))


def test_every_stage_changes_its_own_map_and_all_later_ones():
    side, features = SideNetwork([24, 32, 96]).eval(), maps()
    for layer in side.corrections.values():
        torch.nn.init.normal_(layer.weight)
    before = side(features)
    features[1] = features[1] + 1
    changed = [not torch.equal(*pair) for pair in zip(before, side(features), strict=True)]
    assert changed == [False, True, True]


@pytest.mark.parametrize(('width', 'widths'), [(1 / 8, [8, 8, 16]), (1 / 4, [8, 8, 24]), (1 / 2, [16, 16, 48])])
def test_widths_are_multiples_of_8(width, widths):
    assert SideNetwork([24, 32, 128 if width == 1 / 8 else 96], width=width).widths == widths


def test_a_step_of_adam_changes_the_maps_as_much_at_any_width():
    """As a sum over the channels, the correction would change eight times as much at width 1 as at 1/8."""
    changes = []
    for width in (1 / 8, 1):
        torch.manual_seed(0)
        side, features = SideNetwork([128], width=width), [torch.randn(2, 128, 20, 20)]
        optimizer = torch.optim.AdamW(side.parameters(), 0.01)
        side(features)[0].sum().backward()
        optimizer.step()
        torch.nn.init.zeros_(side.corrections['0'].bias)
        changes.append((side(features)[0] - features[0]).abs().mean().item())
    assert min(changes) > 1e-3
    assert 0.8 < changes[1] / changes[0] < 1.25


@pytest.mark.parametrize('wrong', [dict(width=0), dict(out_indices=(1,)), dict(out_indices=())])
def test_wrong_arguments_are_refused(wrong):
    with pytest.raises(ConfigError, match='above 0|out of 0 to 0'):
        SideNetwork([8], **wrong)


@pytest.mark.parametrize('channels', [[24], [24, 32, 96, 320]])
def test_another_number_of_feature_maps_is_refused(channels):
    with pytest.raises(ConfigError, match='feature maps, as model.neck.in_channels says, but got 3'):
        SideNetwork(channels)(maps())


def test_maps_that_no_head_reads_pass_unchanged():
    side, features = SideNetwork([24, 32, 96], out_indices=(2,)), maps()
    torch.nn.init.normal_(side.corrections['2'].weight)
    found = side(features)
    assert [one is other for one, other in zip(features, found, strict=True)] == [True, True, False]
    found[2].sum().backward()
    assert all(parameter.grad is not None for parameter in side.parameters())


def test_it_is_registered():
    assert isinstance(MODELS.build(dict(type='SideNetwork', in_channels=[8])), SideNetwork)
