"""The mark of a copy: which weights it moves, how far, and what is refused."""

import pytest
import torch

from mmseg_keyprotect.errors import CheckpointError, ConfigError
from mmseg_keyprotect.ownership.fingerprint import mark_signs, mark_weights
from mmseg_keyprotect.ownership.weights import hash_weights, marked_tensors


@pytest.fixture
def state():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 4, 3, 3, generator=generator)
    return {
        'conv.weight': weight,
        'conv.bias': torch.randn(6, generator=generator),
        'tied.weight': weight,
        'saved_apart.weight': weight.clone(),
        'depthwise': torch.randn(6, 1, 3, 3, generator=generator),
        'table': torch.arange(12).reshape(3, 4),
        'constant': torch.ones(3, 4),
        'broken': torch.full((3, 4), float('nan')),
        'half': torch.randn(5, 4, generator=generator).half(),
    }


def test_what_moves(state, key):
    copy = mark_weights(state, key, 'acme', 0.01)
    moved = {name for name in state if not torch.equal(copy[name], state[name]) and name != 'broken'}
    assert moved == {'conv.weight', 'tied.weight', 'saved_apart.weight', 'half'}
    assert copy['broken'] is state['broken']
    weight = state['conv.weight']
    step = (copy['conv.weight'] - weight) / weight.double().std(unbiased=False)
    torch.testing.assert_close(step.abs(), torch.full_like(step, 0.01), atol=1e-5, rtol=0)
    assert 0.3 < (step > 0).float().mean() < 0.7


def test_tied_weights_stay_tied(state, key):
    copy = mark_weights(state, key, 'acme')
    assert copy['conv.weight'] is copy['tied.weight'] is copy['saved_apart.weight']
    assert marked_tensors(state) == {
        'conv.weight': ['conv.weight', 'tied.weight', 'saved_apart.weight'],
        'half': ['half'],
    }


def test_half_precision_becomes_single_so_that_no_mark_is_rounded_away(state, key):
    copy = mark_weights(state, key, 'acme', 1e-4)['half']
    assert copy.dtype == torch.float32
    assert (copy != state['half']).all()


def test_signs_depend_on_everything(key, other_key):
    first = mark_signs(key, 'acme', 'w', (40, 50))
    others = [
        mark_signs(other_key, 'acme', 'w', (40, 50)),
        mark_signs(key, 'acme2', 'w', (40, 50)),
        mark_signs(key, 'acme', 'v', (40, 50)),
        mark_signs(key, 'acme', 'w', (50, 40)),
    ]
    for other in others:
        assert 0.45 < (first == other).mean() < 0.55


@pytest.mark.parametrize('strength', [0, -1, 0.2, float('nan')])
def test_a_strength_out_of_range(state, key, strength):
    with pytest.raises(ConfigError, match='Expected a strength from 0.0001 to 0.1'):
        mark_weights(state, key, 'acme', strength)


@pytest.mark.parametrize('name', ['', '.a', 'a/b', 'a b', 'ü', 'a' * 65, 'a\n'])
def test_a_name_that_is_not_permitted(state, key, name):
    with pytest.raises(ConfigError, match='Expected a recipient of 1 to 64'):
        mark_weights(state, key, name)


def test_nothing_to_mark(key):
    with pytest.raises(ConfigError, match='that can carry a mark, but got none'):
        mark_weights({'bias': torch.ones(3)}, key, 'acme')


def test_the_hash_sees_every_part(state):
    whole = hash_weights(state)
    assert whole == hash_weights(dict(reversed(state.items())))
    for name, changed in {
        'table': state['table'] + 1,
        'constant': state['constant'].reshape(4, 3),
        'half': state['half'].float(),
    }.items():
        assert hash_weights({**state, name: changed}) != whole
    with pytest.raises(CheckpointError, match='Expected dense weights, but a is sparse'):
        hash_weights({'a': torch.eye(2).to_sparse()})
