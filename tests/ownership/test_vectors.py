"""Marks, hashes and records against vectors of an independent implementation (docs/spec.md, section 12)."""

import hashlib

import numpy as np
import pytest
import torch

from helpers.vectors import array, load
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.ownership.fingerprint import mark_signs, mark_weights
from mmseg_keyprotect.ownership.record import CopyRecord
from mmseg_keyprotect.ownership.weights import hash_weights


@pytest.mark.parametrize('vector', load('ownership'))
def test_ownership(vector):
    kind = vector['kind']
    if kind == 'signs':
        key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
        bits = mark_signs(key, vector['recipient'], vector['tensor'], vector['shape'])
        text = ''.join('-' if bit else '+' for bit in bits)
        assert text[:64] == vector['first']
        assert hashlib.sha256(text.encode()).hexdigest() == vector['sha256']
    elif kind == 'mark':
        key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
        state = {'w': torch.from_numpy(array(vector['plain']))}
        marked = mark_weights(state, key, vector['recipient'], vector['strength'])['w']
        np.testing.assert_allclose(marked.numpy(), array(vector['marked']), rtol=0, atol=1e-7)
        assert (marked - state['w']).abs().min() > 1e-4
    elif kind == 'weights':
        state = {one['name']: torch.from_numpy(array(one)) for one in vector['tensors']}
        assert hash_weights(state) == vector['sha256']
    else:
        record = CopyRecord(**vector['record'])
        assert record.commitment == vector['sha256']
        assert CopyRecord.from_json(record.to_json(), 'a record') == record
