"""Records and commitments: what is read, what is refused, and what a commitment gives away."""

import json
from dataclasses import replace

import pytest

from mmseg_keyprotect.errors import ConfigError, DamagedFileError, MissingFileError, UnsupportedSpecError
from mmseg_keyprotect.ownership.record import CopyRecord, commit, new_salt, now, read_records, verify_commitment


def record(recipient='acme', **changes):
    fields = dict(key_id='70a28782cc93edea', strength=0.003, date=now(), salt=new_salt())
    return CopyRecord(recipient, original='0' * 64, copy='1' * 64, file='2' * 64, **{**fields, **changes})


def test_a_commitment_names_nobody_and_can_be_opened_in_part():
    records = [record('acme'), record('globex')]
    text = commit(records, now())
    assert 'acme' not in text
    assert records[0].salt not in text
    assert verify_commitment(text, records) == 0
    assert verify_commitment(text, records[:1]) == 1
    assert records[0].commitment != replace(records[0], salt=new_salt()).commitment


@pytest.mark.parametrize(
    'changes',
    [dict(recipient='globex'), dict(copy='3' * 64), dict(date='2026-01-01T00:00:00Z'), dict(key_id='0' * 16)],
    ids=str,
)
def test_a_changed_record_is_found(changes):
    one = record()
    text = commit([one], now())
    with pytest.raises(DamagedFileError, match='does not hold it'):
        verify_commitment(text, [replace(one, **changes)])


@pytest.mark.parametrize(
    'text',
    [
        '',
        '[]',
        '{}',
        '{"version":1}',
        '{"version":true}',
        '{"version":1,"key_ids":1,"originals":[],"records":[]}',
        '[' * 9999,
    ],
)
def test_other_files_are_no_commitment(text):
    with pytest.raises(DamagedFileError, match='Expected a commitment'):
        verify_commitment(text, [record()])


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        (dict(recipient='../x'), 'unexpected recipient'),
        (dict(recipient=5), 'unexpected recipient'),
        (dict(original='0' * 63), 'unexpected original'),
        (dict(key_id='0' * 16 + '\n'), 'unexpected key_id'),
        (dict(strength='0.1'), 'unexpected strength'),
        (dict(strength=float('nan')), 'unexpected strength'),
        (dict(more=1), 'unexpected more'),
        (dict(version=0), 'Expected a record of a copy'),
    ],
    ids=str,
)
def test_a_damaged_record(tmp_path, changes, match):
    text = json.dumps({**json.loads(record().to_json()), **changes})
    (tmp_path / 'a.json').write_text(text)
    with pytest.raises(DamagedFileError, match=match):
        read_records(tmp_path)


def test_folders_of_records(tmp_path):
    with pytest.raises(MissingFileError, match='Expected a folder of records'):
        read_records(tmp_path)
    one = record()
    (tmp_path / 'a.json').write_text(one.to_json())
    (tmp_path / 'notes.txt').write_text('not read')
    assert read_records(tmp_path) == [one]
    (tmp_path / 'b.json').write_text(record().to_json())
    with pytest.raises(ConfigError, match='lists acme twice for one original, in b.json'):
        read_records(tmp_path)
    (tmp_path / 'b.json').write_text('{"version":2}')
    with pytest.raises(UnsupportedSpecError, match='has version 2'):
        read_records(tmp_path)
    for data in (b'\xff', b'0' * 2**21):
        (tmp_path / 'b.json').write_bytes(data)
        with pytest.raises(DamagedFileError, match='is large or no text'):
            read_records(tmp_path)
