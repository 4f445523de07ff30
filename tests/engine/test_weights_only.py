"""Checkpoints are hostile input: no code runs, nothing crashes the process, and every error has a name."""

import io
import json
import os
import pickletools
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from numpy.lib.recfunctions import unstructured_to_structured

from helpers import ROOT
from helpers.fuzz_checkpoints import pickle_body, sample_checkpoint, states
from mmseg_keyprotect.engine.weights_only import load_weights_only
from mmseg_keyprotect.errors import CheckpointError, MissingFileError
from mmseg_keyprotect.message_hub import DTYPES, PlainArray
from mmseg_keyprotect.protection.checkpoints import read_checkpoint


def load(path):
    """Load a checkpoint as mmengine's runner and mmseg's functions do."""
    return CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')


def saved(checkpoint, folder):
    torch.save(checkpoint, folder / 'saved.pth')
    return folder / 'saved.pth'


class TestMessageHub:
    """What mmengine saves comes back, by numpy's and mmengine's own classes."""

    def test_comes_back(self, tmp_path):
        hub = MessageHub('before')
        for step in range(3):
            hub.update_scalar('train/loss', 0.5 + step)
        hub.update_info('iter', np.int64(3))
        back = load(saved(dict(state_dict={}, message_hub=hub.state_dict()), tmp_path))['message_hub']
        buffer = back['log_scalars']['train/loss']
        assert type(buffer) is HistoryBuffer
        assert [type(values) for values in buffer.data] == [np.ndarray] * 2
        assert (buffer.mean(), buffer.current(), buffer.statistics('min')) == (1.5, 2.5, 0.5)
        assert back['runtime_info']['iter'] == 3
        other = MessageHub('after')
        other.load_state_dict(back)
        other.update_scalar('train/loss', 9.0)
        assert other.get_scalar('train/loss').max() == 9.0

    @pytest.mark.parametrize('dtype', sorted(DTYPES))
    def test_every_dtype(self, dtype, tmp_path):
        values = np.asfortranarray(np.arange(6).reshape(2, 3).astype(dtype))
        back = load(saved(dict(state_dict={}, values=values, one=values[1, 1]), tmp_path))
        np.testing.assert_array_equal(back['values'], values)
        assert (back['values'].dtype, back['one'].dtype, back['one']) == (values.dtype, values.dtype, values[1, 1])
        again = load(saved(back, tmp_path))  # it is saved as numpy's own array
        np.testing.assert_array_equal(again['values'], values)
        assert b'keyprotect' not in (tmp_path / 'saved.pth').read_bytes()

    @pytest.mark.parametrize(
        'values',
        [
            np.array(['a']),
            np.array([{}], dtype=object),
            np.zeros(2, 'M8[ns]'),
            np.zeros(2, '>f8'),
            np.zeros(2, 'c16'),
            unstructured_to_structured(np.zeros((2, 2))),
        ],
        ids=['text', 'object', 'dates', 'big-endian', 'complex', 'fields'],
    )
    def test_other_dtypes_are_refused(self, values, tmp_path):
        with pytest.raises(CheckpointError, match='Expected (one of the dtypes|a dtype)'):
            load(saved(dict(values=values), tmp_path))


@pytest.mark.parametrize('kind', ['a file', 'a download'])
def test_what_a_program_has_allowed_itself_does_not_mix_with_it(kind, tmp_path):
    """Others allow numpy's classes, as torch's error advises; they have theirs, and the message hub has these."""
    hub = MessageHub('mixed')
    hub.update_scalar('train/loss', 0.5)
    path = saved(dict(state_dict={}, message_hub=hub.state_dict(), table=np.arange(3.0)), tmp_path)
    theirs = [np.zeros(0).__reduce__()[0], np.ndarray, np.dtype, np.dtypes.Float64DType]
    before = torch.serialization.get_safe_globals()
    with torch.serialization.safe_globals(theirs):
        if kind == 'a file':
            checkpoint = load(path)
        else:
            checkpoint = mmengine_checkpoint.load_from_http('https://example.org/saved.pth', 'cpu', str(tmp_path))
        assert type(checkpoint['message_hub']['log_scalars']['train/loss']) is HistoryBuffer
        torch.save(dict(table=np.arange(3.0)), tmp_path / 'own.pth')
        assert type(torch.load(tmp_path / 'own.pth', weights_only=True)['table']) is np.ndarray
    assert set(torch.serialization.get_safe_globals()) == set(before)


STATES = {
    'a short state': (3, '<', None, -1, -1, 0),  # this one ended the process
    'a large offset': (3, '<', None, ('f0',), {'f0': (1, 2**40)}, 8, 1, 16),
    'a large item': (3, '<', None, None, None, 2**40, -1, 0),
    'flags': (3, '<', None, None, None, -1, -1, 63),
    'another version': (4, '<', None, None, None, -1, -1, 0, {}),
    'no tuple': 5,
}


def with_dtype_state(state):
    """Return the sample checkpoint with another state of its first dtype."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sample_checkpoint())) as source, zipfile.ZipFile(target, 'w') as archive:
        for name in source.namelist():
            data = source.read(name)
            if name.endswith('data.pkl'):
                operations = [(place, code.name) for code, _, place in pickletools.genops(data)]
                start, end = next(found for found in states(operations) if found[0] > data.index(b'cnumpy\ndtype'))
                data = data[:start] + pickle_body(state) + data[end:]
            archive.writestr(name, data)
    return target.getvalue()


def test_states_of_a_dtype(tmp_path):
    """They are loaded in a process of their own, since they may end it."""
    code = (
        'import sys, mmseg, mmseg_keyprotect\n'
        'from mmengine.runner.checkpoint import CheckpointLoader\n'
        'for path in sys.argv[1:]:\n'
        '    try:\n        CheckpointLoader.load_checkpoint(path, "cpu", logger="silent")\n'
        '    except Exception as error:\n        print(type(error).__name__, error, flush=True)'
    )
    paths = []
    for number, state in enumerate(STATES.values()):
        paths.append(tmp_path / f'{number}.pth')
        paths[-1].write_bytes(with_dtype_state(state))
    done = subprocess.run([sys.executable, '-c', code, *paths], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, f'{list(STATES)[len(lines)]} ended the process: {done.returncode}'
    assert len(lines) == len(STATES)
    assert all(line.startswith('CheckpointError Expected a checkpoint of weights') for line in lines), lines


@pytest.mark.parametrize('count', [300, pytest.param(20_000, marks=pytest.mark.slow)])
def test_changed_checkpoints(count, tmp_path):
    """Of thousands of changed files none crashes the process, and every refusal is an error of this package."""
    words = [sys.executable, '-m', 'helpers.fuzz_checkpoints', str(count), '1', str(tmp_path)]
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), str(ROOT / 'tests')])}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = json.loads(done.stdout.splitlines()[-1])
    assert sum(outcomes.values()) == 2 * count
    assert set(outcomes) == {'read', 'CheckpointError'}
    assert 0 < outcomes['read'] < count


class Code:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Attribute:
    """Asks for an attribute when it is unpickled."""

    def __init__(self, *words):
        self.words = words

    def __reduce__(self):
        return getattr, self.words


class TestEveryWayIn:
    """Each loader passes weights_only itself, whatever torch's default is, and nobody retries without it."""

    @pytest.fixture
    def hostile(self, tmp_path, monkeypatch):
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')  # changes torch's default
        return saved(dict(state_dict=dict(w=torch.zeros(1)), meta=dict(code=Code(tmp_path / 'ran'))), tmp_path)

    @pytest.mark.parametrize('read', [load, read_checkpoint], ids=['mmengine', 'protect'])
    def test_a_file(self, read, hostile, tmp_path):
        with pytest.raises(CheckpointError, match='unsupported GLOBAL .*mkdir.*save its weights alone') as caught:
            read(hostile)
        assert 'add_safe_globals' not in str(caught.value)
        assert 'weights_only' not in str(caught.value)
        assert not (tmp_path / 'ran').exists()

    def test_a_download(self, hostile, tmp_path):
        """A folder stands for the cache of torch.hub, so that nothing is downloaded."""
        (tmp_path / 'cache').mkdir()
        hostile.rename(tmp_path / 'cache' / 'model.pth')
        with pytest.raises(Exception, match='unsupported GLOBAL'):
            mmengine_checkpoint.load_from_http('https://example.org/model.pth', 'cpu', str(tmp_path / 'cache'))
        assert not (tmp_path / 'ran').exists()

    def test_an_attribute(self, tmp_path):
        """A HistoryBuffer names its methods by getattr. Names come out, and no attribute of anything."""
        assert load(saved(dict(named=Attribute(HistoryBuffer, '__init__')), tmp_path))['named'] == '__init__'
        with pytest.raises(CheckpointError, match='an attribute of something else'):
            load(saved(dict(named=Attribute(torch.Tensor, '__init__')), tmp_path))

    def test_no_file(self, tmp_path):
        with pytest.raises(MissingFileError, match=r'none\.pth does not exist'):
            load(tmp_path / 'none.pth')


@pytest.mark.parametrize(
    ('checkpoint', 'match'),
    [
        (5, 'holds a int'),
        ([torch.zeros(1)], 'holds a list'),
        (dict(state_dict=[1]), '`state_dict` of a checkpoint to be a dict'),
        (torch.zeros(1), 'holds a Tensor'),
        (dict(state_dict=5), '`state_dict` of a checkpoint to be a dict'),
        (dict(state_dict=torch.zeros(2)), '`state_dict` of a checkpoint to be a dict'),
        (dict(weight=torch.zeros(2), meta=torch.zeros(2)), '`meta` of a checkpoint to be a dict'),
        (dict(weight=torch.zeros(2), message_hub=''), '`message_hub` of a checkpoint to be a dict'),
        (dict(state_dict={}, meta='text'), '`meta` of a checkpoint to be a dict'),
        (dict(state_dict={}, meta={}, message_hub=[1]), '`message_hub` of a checkpoint'),
    ],
)
@pytest.mark.parametrize('read', [load, read_checkpoint], ids=['mmengine', 'protect'])
def test_odd_checkpoints(read, checkpoint, match, tmp_path):
    with pytest.raises(CheckpointError, match=match):
        read(saved(checkpoint, tmp_path))


def test_a_file_object(tmp_path):
    with open(saved(dict(a=torch.ones(2)), tmp_path), 'rb') as file:
        assert load_weights_only(file, 'a stream')['a'].tolist() == [1, 1]
    with pytest.raises(CheckpointError, match='a stream cannot be read'):
        load_weights_only(io.BytesIO(b'nothing'), 'a stream')


def test_arrays_in_a_file_are_arrays():
    assert issubclass(PlainArray, np.ndarray)
    with pytest.raises(TypeError):
        PlainArray((2**40,))


def test_an_empty_meta(tmp_path):
    """mmengine takes `meta=None`."""
    path = saved(dict(state_dict=dict(w=torch.zeros(1)), meta=None), tmp_path)
    assert load(path)['meta'] is None
    assert read_checkpoint(path)[1] == {}


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = saved(dict(state_dict=dict(w=torch.zeros(1))), tmp_path)

    def refuse(*words, **options):
        raise PermissionError(13, 'Permission denied')

    monkeypatch.setattr('builtins.open', refuse)
    with pytest.raises(MissingFileError, match='Permission denied'):
        read_checkpoint(path)
