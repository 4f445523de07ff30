"""Keys and key files against the vectors of an independent implementation (docs/spec.md, sections 2 and 6)."""

import json
import struct
import traceback

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from helpers import VECTORS
from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys import SecretKey


def read(file, keep=lambda vector: True):
    vectors = json.loads((VECTORS / file).read_text(encoding='utf-8'))['vectors']
    return [pytest.param(vector, id=vector['name']) for vector in vectors if keep(vector)]


@pytest.mark.parametrize('vector', read('key_files.json'))
def test_key_file(tmp_path, vector):
    path = tmp_path / 'vector.key'
    path.write_bytes(vector['text'].encode())
    path.chmod(0o600)
    if vector['expect'] == 'ok':
        key = SecretKey.load(path, vector['passphrase'])
        assert key == SecretKey.from_bytes(bytes.fromhex(vector['secret']))
        assert key.key_id == vector['key_id']
        return
    assert vector['expect'] == 'KeyFileError'
    with pytest.raises(KeyFileError, match=r"^key file '.*vector\.key'") as info:
        SecretKey.load(path, vector['passphrase'])
    shown = ''.join(traceback.format_exception(info.value)) + repr(info.value) + repr(info.value.__context__)
    for line in vector['text'].split('\n'):
        body = line.rpartition('.')[2] if line.upper().startswith(('MMSEG', ' MMSEG')) else ''
        for i in range(0, len(body) - 8, 4):
            assert body[i : i + 8] not in shown


@pytest.mark.parametrize('vector', read('key_files.json', lambda vector: vector['expect'] == 'ok'))
def test_key_file_round_trip(tmp_path, vector):
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
    key.save(tmp_path / 'again.key')
    assert SecretKey.load(tmp_path / 'again.key') == key
    if vector['passphrase'] is None:  # the line of a plain key is deterministic
        assert (tmp_path / 'again.key').read_text().splitlines()[-1] in vector['text']


@pytest.mark.parametrize('vector', read('derivation.json', lambda vector: vector['kind'] == 'key_id'))
def test_key_id(vector):
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
    assert key.key_id == key.derive(vector['label'], 8).hex() == vector['key_id']


@pytest.mark.parametrize('vector', read('derivation.json', lambda vector: vector['kind'] == 'words'))
def test_derived_stream_key(vector):
    """The words are the ChaCha20 keystream under 32 derived bytes, so they check those."""
    stream_key = SecretKey.from_bytes(bytes.fromhex(vector['secret'])).derive(vector['label'], 32)
    count = len(vector['words'])
    stream = Cipher(ChaCha20(stream_key, bytes(16)), mode=None).encryptor().update(bytes(4 * count))
    assert list(struct.unpack(f'<{count}I', stream)) == vector['words']


@pytest.mark.parametrize('vector', read('derivation.json', lambda vector: vector['kind'] == 'derive'))
def test_derive(vector):
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
    assert key.derive(vector['label'], vector['length']).hex() == vector['output']
