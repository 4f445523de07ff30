"""A copy is written with its record, or neither is."""

import json

import pytest
import torch

from mmseg_keyprotect.errors import AlreadyEncryptedError, CheckpointError, ConfigError, MissingFileError
from mmseg_keyprotect.keys.identity import META_KEY
from mmseg_keyprotect.ownership import mark_weights, protect_copy, read_records
from mmseg_keyprotect.ownership.weights import hash_weights
from mmseg_keyprotect.protection import protect_checkpoint
from mmseg_keyprotect.protection.checkpoints import read_checkpoint

SHUFFLE = dict(type='Shuffle', block_size=4)


def test_a_copy_that_is_bound_to_no_key(trained, tmp_path, key):
    config, path, record_file = protect_copy(
        *trained, tmp_path / 'out', 'acme', tmp_path / 'records', key, 0.01, cipher=None
    )
    original, (copy, meta) = read_checkpoint(trained[1])[0], read_checkpoint(path)
    assert META_KEY not in meta
    assert set(copy) == set(original)
    expected = mark_weights(original, key, 'acme', 0.01)
    assert all(torch.equal(copy[name], expected[name]) for name in copy)
    assert 'acme' not in config.read_text() + str(meta)
    (record,) = read_records(tmp_path / 'records')
    assert record_file == tmp_path / 'records' / f'acme.{record.original[:12]}.json'
    assert json.loads(record_file.read_text())['recipient'] == 'acme'
    assert (record.key_id, record.strength) == (key.key_id, 0.01)
    assert (record.original, record.copy) == (hash_weights(original), hash_weights(copy))


def test_binding_takes_the_marked_weights(trained, tmp_path, key, other_key):
    marked = tmp_path / 'marked.pth'
    torch.save(dict(state_dict=mark_weights(read_checkpoint(trained[1])[0], other_key, 'acme'), meta={}), marked)
    _, wanted = protect_checkpoint(trained[0], marked, tmp_path / 'wanted', SHUFFLE, key)
    _, got, _ = protect_copy(
        *trained, tmp_path / 'got', 'acme', tmp_path / 'records', other_key, cipher=SHUFFLE, key=key
    )
    wanted, got = read_checkpoint(wanted)[0], read_checkpoint(got)[0]
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)


def test_a_recipient_twice_is_refused_and_nothing_is_written(trained, tmp_path, key):
    protect_copy(*trained, tmp_path / 'one', 'acme', tmp_path / 'records', key, cipher=None)
    before = {path: path.read_bytes() for path in (tmp_path / 'records').iterdir()}
    with pytest.raises(ConfigError, match=r'Expected a new recipient, but .*acme\.[0-9a-f]{12}\.json is the record'):
        protect_copy(*trained, tmp_path / 'two', 'acme', tmp_path / 'records', key, cipher=None)
    assert not (tmp_path / 'two').exists()
    assert {path: path.read_bytes() for path in (tmp_path / 'records').iterdir()} == before


def test_a_copy_that_fails_leaves_no_record(trained, tmp_path, key):
    other = tmp_path / 'other.pth'
    torch.save({'a.weight': torch.randn(3, 3)}, other)
    with pytest.raises(CheckpointError):
        protect_copy(trained[0], other, tmp_path / 'out', 'acme', tmp_path / 'records', key, cipher=None)
    with pytest.raises(ConfigError, match='Expected a strength'):
        protect_copy(*trained, tmp_path / 'out', 'acme', tmp_path / 'records', key, 0.5, cipher=None)
    assert not (tmp_path / 'out').exists()
    with pytest.raises(MissingFileError):
        read_records(tmp_path / 'records')


@pytest.mark.parametrize('cipher', [None, SHUFFLE], ids=['marked alone', 'bound'])
def test_a_protected_original_is_refused(trained, tmp_path, key, cipher):
    config, bound = protect_checkpoint(*trained, tmp_path / 'bound', SHUFFLE, key)
    with pytest.raises(AlreadyEncryptedError):
        protect_copy(config, bound, tmp_path / 'out', 'acme', tmp_path / 'records', key, cipher=cipher, key=key)
