"""Base64url, scrypt and HKDF, which key files and sealed files share."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers import ROOT
from mmseg_keyprotect.errors import KeyFileError
from mmseg_keyprotect.keys import encoding
from mmseg_keyprotect.keys.encoding import EncodingError, decode, encode, encoded_length, scrypt


@given(st.binary(max_size=80))
def test_there_and_back(data):
    text = encode(data)
    assert text == base64.urlsafe_b64encode(data).decode().rstrip('=')
    assert len(text) == encoded_length(len(data))
    assert decode(text, len(data)) == data


@given(st.binary(min_size=1, max_size=40), st.integers(1, 50))
def test_another_size_is_refused(data, size):
    if encoded_length(size) != encoded_length(len(data)):
        with pytest.raises(EncodingError, match='wrong length'):
            decode(encode(data), size)


@pytest.mark.parametrize('text', ['a2V5=', 'a2V+', 'a2V/', 'a2 V', 'a2V5\n', 'a2Vé'])
def test_other_characters_are_refused_and_not_repeated(text):
    with pytest.raises(EncodingError, match='not canonical base64: expected only') as info:
        decode(text, 3)
    assert 'a2' not in str(info.value)


def test_loose_last_bits_are_refused():
    assert decode('AA', 1) == b'\0'
    with pytest.raises(EncodingError, match='last character'):
        decode('AB', 1)


def test_scrypt_is_that_of_the_standard_library():
    expected = hashlib.scrypt(b'correct horse', salt=bytes(16), n=2**4, r=8, p=1, dklen=32)
    assert scrypt(b'correct horse', bytes(16), 4) == expected


def test_little_memory(monkeypatch):
    def work(**arguments):
        raise MemoryError

    monkeypatch.setattr(encoding, 'Scrypt', work)
    with pytest.raises(KeyFileError, match='Expected enough memory.*scrypt needs 128 MiB'):
        scrypt(b'correct horse', bytes(16), 17)


def test_nothing_of_it_is_written_twice():
    """Base64url, scrypt, HKDF and their labels occur in one file of the package."""
    labels = (encoding.KEY_ID, encoding.SEALED_FILE, encoding.SEALED_FILE_X25519, encoding.SEALED_HEADER)
    quoted = '|'.join(f'b?[\'"]{label}[\'"]' for label in (*labels, encoding.SEALED_PAYLOAD))
    pattern = re.compile(rf"{quoted}|b'mmseg-keyprotect/1'|urlsafe_b64|kdf\.scrypt|Scrypt\(")
    found = {
        str(path.relative_to(ROOT / 'mmseg_keyprotect'))
        for path in (ROOT / 'mmseg_keyprotect').rglob('*.py')
        if pattern.search(path.read_text())
    }
    assert found == {'keys/encoding.py'}
