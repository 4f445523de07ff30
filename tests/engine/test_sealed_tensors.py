"""Tensors of sealed safetensors files: those of the library, and no chunk is decrypted that nobody asked for."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from mmseg_keyprotect.engine.sealed_tensors import SealedTensors
from mmseg_keyprotect.errors import CheckpointError, SealedFileError, WrongKeyError
from mmseg_keyprotect.sealing import KeyRecipient, SealedReader, seal_file, sealed_output

safetensors = pytest.importorskip('safetensors.torch')

STATE = {
    'conv.weight': torch.randn(8, 3, 3, 3),
    'half': torch.randn(5, 2).half(),
    'brain': torch.randn(7).bfloat16(),
    'count': torch.tensor(3),
    'flags': torch.tensor([True, False]),
    'empty': torch.zeros(0, 4),
    'large': torch.randn(1000, 500),
    'last': torch.arange(10, dtype=torch.int32),
}


@pytest.fixture
def sealed(key, tmp_path):
    safetensors.save_file(STATE, tmp_path / 'plain', metadata=dict(format='pt'))
    seal_file(tmp_path / 'plain', tmp_path / 'sealed', [KeyRecipient(key)])
    return tmp_path / 'sealed'


def test_the_tensors_of_the_library(sealed, key):
    with SealedTensors(f'sealed://{sealed}', key) as tensors:
        assert sorted(tensors) == sorted(STATE)
        assert (len(tensors), tensors.metadata) == (len(STATE), dict(format='pt'))
        for name, value in STATE.items():
            assert tensors[name].dtype == value.dtype
            assert torch.equal(tensors[name], value)
        with pytest.raises(KeyError):
            tensors['other']


def test_a_model_loads_them(sealed, key, tmp_path):
    model = torch.nn.Linear(3, 2)
    safetensors.save_file(dict(model.state_dict()), tmp_path / 'linear')
    seal_file(tmp_path / 'linear', tmp_path / 'linear.sealed', [KeyRecipient(key)])
    with SealedTensors(tmp_path / 'linear.sealed', key) as tensors:
        torch.nn.Linear(3, 2).load_state_dict(dict(tensors))


def test_only_what_is_asked_for_is_decrypted(sealed, key, monkeypatch):
    loaded, load = [], SealedReader._load

    def noted(self, index):
        loaded.append(index)
        load(self, index)

    monkeypatch.setattr(SealedReader, '_load', noted)
    with SealedTensors(sealed, key) as tensors:
        chunks = tensors._reader.chunks
        assert chunks > 4
        assert torch.equal(tensors['last'], STATE['last'])
        assert len(set(loaded)) < chunks - 2


def test_damage_is_found_where_it_lies(sealed, key, other_key):
    with pytest.raises(WrongKeyError):
        SealedTensors(sealed, other_key)
    content = bytearray(sealed.read_bytes())
    content[len(content) // 2] ^= 1
    sealed.write_bytes(content)
    with SealedTensors(sealed, key) as tensors:
        with pytest.raises(SealedFileError, match='chunk'):
            tensors['large']
        assert torch.equal(tensors['last'], STATE['last'])


def test_many_threads_at_once(sealed, key):
    with SealedTensors(sealed, key) as tensors, ThreadPoolExecutor(8) as pool:
        for name, found in pool.map(lambda name: (name, tensors[name]), [*STATE] * 20):
            assert torch.equal(found, STATE[name])


def header(**entries):
    head = json.dumps(entries).encode()
    return len(head).to_bytes(8, 'little') + head + bytes(16)


HOSTILE = {
    'empty': b'',
    'no length': bytes(8),
    'a length behind the end': (10**6).to_bytes(8, 'little') + b'{}',
    'a huge length': b'\xff' * 8,
    'no JSON': (4).to_bytes(8, 'little') + b'nope',
    'a list': (2).to_bytes(8, 'little') + b'[]',
    'deep JSON': (20_000).to_bytes(8, 'little') + b'[' * 20_000,
    'no place': header(a=dict(dtype='F32', shape=[4])),
    'a place behind the end': header(a=dict(dtype='F32', shape=[4], data_offsets=[0, 17])),
    'a negative place': header(a=dict(dtype='F32', shape=[4], data_offsets=[-8, 8])),
    'an entry that is text': header(a='x'),
}


@pytest.mark.parametrize('content', HOSTILE.values(), ids=HOSTILE)
def test_hostile_headers(content, key, tmp_path):
    with sealed_output(tmp_path / 'sealed', [KeyRecipient(key)]) as writer:
        writer.write(content)
    with pytest.raises(CheckpointError, match='Expected safetensors in'):
        SealedTensors(tmp_path / 'sealed', key)


@pytest.mark.parametrize(
    'entry',
    [
        dict(dtype='F32', shape=[5], data_offsets=[0, 16]),
        dict(dtype='F99', shape=[4], data_offsets=[0, 16]),
        dict(dtype='F32', shape=[-4], data_offsets=[0, 16]),
        dict(dtype='F32', shape=[2**62, 2**62], data_offsets=[0, 16]),
    ],
)
def test_hostile_entries(entry, key, tmp_path):
    with sealed_output(tmp_path / 'sealed', [KeyRecipient(key)]) as writer:
        writer.write(header(a=entry))
    with SealedTensors(tmp_path / 'sealed', key) as tensors, pytest.raises(CheckpointError):
        tensors['a']
