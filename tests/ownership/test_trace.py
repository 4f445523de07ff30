"""A copy is traced whatever was done to it; what cannot be told is not guessed."""

import re

import numpy as np
import pytest
import torch

from mmseg_keyprotect.errors import (
    AlreadyEncryptedError,
    CheckpointError,
    ConfigError,
    MissingFileError,
    WrongKeyError,
)
from mmseg_keyprotect.ownership import mark_weights, protect_copy, trace_suspect
from mmseg_keyprotect.ownership.comparison import compare
from mmseg_keyprotect.ownership.trace import score_of
from mmseg_keyprotect.protection.checkpoints import read_checkpoint
from mmseg_keyprotect.sealing import KeyRecipient, seal_file


@pytest.fixture(scope='module')
def owned(trained, tmp_path_factory):
    """A folder with the records of two copies, the states of the copies, and the owner's key."""
    from mmseg_keyprotect.keys import SecretKey

    folder, key = tmp_path_factory.mktemp('owned'), SecretKey.from_bytes(bytes(range(32)))
    copies = {}
    for name in ('acme', 'globex'):
        _, path, _ = protect_copy(*trained, folder / name, name, folder / 'records', key, 0.003, cipher=None)
        copies[name] = read_checkpoint(path)[0]
    return folder, copies, key


@pytest.fixture
def traced(owned, trained, tmp_path):
    """A function that traces a state dict, as a file that was found."""
    folder, _, key = owned

    def run(state, **options):
        torch.save(state, tmp_path / 'suspect.pth')
        return trace_suspect(tmp_path / 'suspect.pth', trained[1], folder / 'records', key, **options)

    return run


def weights(change):
    return lambda state: {
        name: change(tensor) if tensor.is_floating_point() and tensor.ndim > 1 else tensor
        for name, tensor in state.items()
    }


def noise(tensor):
    return tensor + 0.05 * tensor.std() * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0))


def int8(tensor):
    step = tensor.abs().max() / 127
    return (tensor / step).round() * step


def pruned(tensor):
    return torch.where(tensor.abs() > tensor.abs().median(), tensor, 0)


def renamed(state):
    return {f'layer{number}': tensor for number, tensor in enumerate(state.values())}


def new_head(state):
    head = torch.randn(7, 8, 1, 1, generator=torch.Generator().manual_seed(0))
    return {**state, 'decode_head.conv_seg.weight': head, 'decode_head.conv_seg.bias': torch.zeros(7)}


def reordered(state):
    """Reorder the channels between the two convolutions of every block; the network computes the same."""
    state, generator = dict(state), torch.Generator().manual_seed(0)
    for name in [name for name in state if name.endswith('conv1.weight') and '.layer' in name]:
        block = name.removesuffix('conv1.weight')
        order = torch.randperm(len(state[name]), generator=generator)
        for part in ('conv1.weight', 'bn1.weight', 'bn1.bias', 'bn1.running_mean', 'bn1.running_var'):
            state[block + part] = state[block + part][order]
        state[block + 'conv2.weight'] = state[block + 'conv2.weight'][:, order]
    return state


CHANGES = {
    'untouched': lambda state: state,
    'whole checkpoint': lambda state: dict(state_dict=state, meta={}, optimizer={}),
    'module.': lambda state: {f'module.{name}': tensor for name, tensor in state.items()},
    'model.': lambda state: {f'model.{name}': tensor for name, tensor in state.items()},
    'backbone alone': lambda state: {
        name.removeprefix('backbone.'): tensor for name, tensor in state.items() if name.startswith('backbone.')
    },
    'other names': renamed,
    'float16': weights(torch.Tensor.half),
    'bfloat16': weights(torch.Tensor.bfloat16),
    'int8': weights(int8),
    'noise of 5%': weights(noise),
    'half pruned': weights(pruned),
    'new head': new_head,
    'reordered': reordered,
    'reordered, int8': lambda state: weights(int8)(reordered(state)),
    'values that are not finite': lambda state: {
        **state,
        'backbone.conv1.weight': state['backbone.conv1.weight'] / 0,
    },
}


@pytest.mark.parametrize('change', CHANGES.values(), ids=CHANGES)
def test_the_recipient_is_found(change, owned, traced):
    found = traced(change(owned[1]['acme']))
    assert found.traced == ['acme']
    assert found.verdict == 'traced'
    assert found.scores[0].z > 20
    assert abs(found.scores[1].z) < 5
    assert found.aligned >= 0.9 * found.compared
    assert re.fullmatch(r'It carries the mark of acme; chance of an error: at most 1e-30\.', found.sentence)


def test_two_copies_that_were_combined(owned, traced):
    one, other = owned[1].values()
    found = traced(
        {name: (one[name] + other[name]) / 2 if one[name].is_floating_point() else one[name] for name in one}
    )
    assert sorted(found.traced) == ['acme', 'globex']
    assert 'Their copies were combined.' in found.sentence


def test_bound_and_sealed_copies(trained, owned, tmp_path, other_key):
    """Bound to a customer's key, which the owner does not need; sealed ones need the key that seals."""
    _, _, key = owned
    records = tmp_path / 'records'
    features = dict(stages='all', blocks='all', cipher=dict(type='FeatureShuffle'))
    options = dict(cipher=[dict(type='Shuffle', block_size=4), dict(type='NegativePositive', block_size=4)])
    cases = dict(
        images=options,
        features=dict(cipher=None, features=features),
        both=dict(options, features=features, border='exact'),
        sealed=dict(options, seal=True),
    )
    for name, protection in cases.items():
        owner = other_key if name == 'sealed' else key
        _, path, _ = protect_copy(
            *trained, tmp_path / name, name, records / name, owner, 0.003, key=other_key, **protection
        )
        found = trace_suspect(path, trained[1], records / name, owner)
        assert found.traced == [name]
        assert found.compared == found.aligned == found.tensors
        assert found.scores[0].z > 300


def test_without_a_mark(traced, trained):
    found = traced(read_checkpoint(trained[1])[0])
    assert (found.verdict, found.traced) == ('near', [])
    assert 'or both derive from the same public weights' in found.sentence
    assert [score.z for score in found.scores] == [0, 0]


def test_models_of_the_same_public_weights(trained, owned, apart, tmp_path, traced):
    """What comes from an ancestor shows nothing; only what the original has besides does."""
    own = read_checkpoint(trained[1])[0]
    public = {name.removeprefix('backbone.'): tensor for name, tensor in own.items() if name.startswith('backbone.')}
    torch.save(public, tmp_path / 'public.pth')
    sibling = {name: own[name] if name.startswith('backbone.') else apart[name] for name in own}
    assert traced(sibling).verdict == 'near'
    found = traced(sibling, ancestor=tmp_path / 'public.pth')
    assert (found.verdict, found.own, found.own_aligned) == ('cannot tell', 2, 0)
    assert 'Cannot tell' in found.sentence


def test_a_model_that_was_trained_apart(traced, apart):
    found = traced(apart)
    assert (found.verdict, found.traced) == ('cannot tell', [])
    assert found.aligned < 0.2 * found.compared
    assert all(score.chance > 1e-3 for score in found.scores)


def test_the_scores_of_others_are_as_the_bound_says(trained, owned):
    original, copy = read_checkpoint(trained[1])[0], owned[1]['acme']
    found = compare(weights(noise)(copy), original)
    scores = np.array([score_of(found, owned[2], f'other{number}') for number in range(300)])
    assert abs(scores.mean()) < 0.25
    assert 0.85 < scores.std() < 1.15
    assert score_of(found, owned[2], 'acme') > 20 > 5 > abs(scores).max()


def test_other_architectures_and_files(traced, owned, trained, tmp_path):
    with pytest.raises(CheckpointError, match='Expected a suspect of the architecture of the original, but only 0%'):
        traced({'a.weight': torch.zeros(3, 3)})
    folder, _, key = owned
    (tmp_path / 'cut.pth').write_bytes(trained[1].read_bytes()[:2000])
    with pytest.raises(CheckpointError, match='cut.pth cannot be read'):
        trace_suspect(tmp_path / 'cut.pth', trained[1], folder / 'records', key)
    with pytest.raises(CheckpointError, match='can run code'):
        traced({'weight': torch.zeros(3, 3), 'hook': np.polyfit})
    with pytest.raises(MissingFileError, match='none.pth does not exist'):
        trace_suspect(trained[1], tmp_path / 'none.pth', folder / 'records', key)
    with pytest.raises(MissingFileError, match='Expected a folder of records'):
        trace_suspect(trained[1], trained[1], tmp_path / 'none', key)


def test_hostile_tensors(traced, owned):
    """Sparse tensors, tensors without values, and a block stem of a false size, beside a copy."""
    copy = owned[1]['acme']
    huge = torch.zeros(1).expand(2**20, 2**20, 1, 1)
    stem = 'backbone.conv1.'
    found = traced(
        {
            **copy,
            'sparse': torch.eye(3).to_sparse(),
            'valueless': torch.zeros(3, 3, device='meta'),
            f'{stem}weight': huge,
            f'{stem}mean': torch.zeros(3),
            f'{stem}std': torch.zeros(3),
        }
    )
    assert found.traced == ['acme']
    assert found.compared == found.tensors - 1


def test_what_belongs_together(owned, trained, apart, key, other_key, tmp_path):
    folder, copies, _ = owned
    torch.save(apart, tmp_path / 'apart.pth')
    with pytest.raises(ConfigError, match='Expected records of copies of this original, whose hash begins with'):
        trace_suspect(trained[1], tmp_path / 'apart.pth', folder / 'records', key)
    with pytest.raises(WrongKeyError, match=f'Expected the key {key.key_id}.*but got {other_key.key_id}'):
        trace_suspect(trained[1], trained[1], folder / 'records', other_key)
    protection = dict(cipher=dict(type='Shuffle', block_size=4), key=key)
    _, bound, _ = protect_copy(*trained, tmp_path / 'bound', 'x', tmp_path / 'records', key, **protection)
    with pytest.raises(AlreadyEncryptedError, match='Expected the plain original'):
        trace_suspect(bound, bound, folder / 'records', key)
    assert mark_weights(read_checkpoint(trained[1])[0], key, 'acme', 0.003)['backbone.conv1.weight'].equal(
        copies['acme']['backbone.conv1.weight']
    )


@pytest.fixture(scope='module')
def exported(owned, trained):
    """An ONNX file of a copy, made by torch's exporter."""
    pytest.importorskip('onnxruntime')
    from mmseg_keyprotect.config.view import load_quietly
    from mmseg_keyprotect.export import export_onnx

    folder = owned[0]
    export_onnx(load_quietly(trained[0]), str(folder / 'acme' / 'plain.pth'), folder / 'copy.onnx', size=(64, 64))
    return folder / 'copy.onnx'


def test_an_exported_copy_is_traced(exported, owned, trained):
    folder, _, key = owned
    found = trace_suspect(exported, trained[1], folder / 'records', key)
    assert found.traced == ['acme']
    seal_file(exported, folder / 'sealed.onnx', [KeyRecipient(key)])
    assert trace_suspect(folder / 'sealed.onnx', trained[1], folder / 'records', key) == found


def test_hostile_onnx_files(exported, owned, trained, tmp_path):
    onnx = pytest.importorskip('onnx')
    folder, _, key = owned
    outside = onnx.load(exported)
    outside.graph.initializer[0].ClearField('raw_data')
    outside.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    outside.graph.initializer[0].external_data.add(key='location', value='/etc/passwd')
    contents = [outside.SerializeToString(), exported.read_bytes()[:-1000], b'', onnx.ModelProto().SerializeToString()]
    for content in contents:
        (tmp_path / 'suspect.onnx').write_bytes(content)
        with pytest.raises(CheckpointError, match='Expected an ONNX file with weights'):
            trace_suspect(tmp_path / 'suspect.onnx', trained[1], folder / 'records', key)
