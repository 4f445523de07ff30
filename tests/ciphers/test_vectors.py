"""Ciphers against vectors of an independent implementation (docs/test_vectors.md)."""

import hashlib
import itertools
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from helpers import VECTORS
from helpers.vectors import array, load
from mmseg_keyprotect.ciphers import build_cipher, pad_image, pad_label, padding_to_blocks
from mmseg_keyprotect.ciphers.derivation import permutation, uniform, words
from mmseg_keyprotect.keys import SecretKey

REFERENCE = {'shuffle': 'SHF', 'negative-positive': 'NP', 'ffx': 'FFX'}
TYPES = {'shuffle': 'Shuffle', 'negative-positive': 'NegativePositive', 'ffx': 'FFX'}


def tensor(image):
    """Convert an HWC array to a CHW tensor, and uint16 to int16, which torch uses instead."""
    return torch.from_numpy(image.astype(np.int16) if image.dtype == np.uint16 else image).permute(2, 0, 1)


def test_files_are_what_their_generator_makes():
    done = subprocess.run([sys.executable, str(VECTORS / 'generate.py'), '--check'], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize('vector', load('derivation'))
def test_derivation(vector):
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
    kind, label = vector['kind'], vector['label']
    if kind == 'key_id':
        assert key.key_id == vector['key_id']
    elif kind == 'derive':
        assert key.derive(label, vector['length']).hex() == vector['output']
    elif kind == 'words':
        assert list(itertools.islice(words(key, label), len(vector['words']))) == vector['words']
    elif kind == 'uniform':
        source = words(key, label)
        assert [uniform(source, vector['n']) for _ in vector['draws']] == vector['draws']
        assert next(source) == list(itertools.islice(words(key, label), vector['words_used'] + 1))[-1]
    else:
        got = permutation(key, vector['n'], label).tolist()
        assert got[: len(vector['first'])] == vector['first']
        assert hashlib.sha256(','.join(map(str, got)).encode()).hexdigest() == vector['sha256']


@pytest.mark.parametrize('vector', load('ciphers'))
def test_ciphers(vector):
    key = SecretKey.from_bytes(bytes.fromhex(vector['secret']))
    cfg = [dict(type=TYPES[word], block_size=vector['block_size'], allow_weak=True) for word in vector['ciphers']]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        cipher = build_cipher(cfg, key, vector['channels'])
    plain, encrypted = array(vector['plain']), array(vector['encrypted'])
    got = cipher.encrypt(plain)
    assert got.dtype == encrypted.dtype
    np.testing.assert_array_equal(got, encrypted)
    np.testing.assert_array_equal(cipher.decrypt(encrypted), plain)
    assert torch.equal(cipher.encrypt(tensor(plain)), tensor(encrypted))
    assert torch.equal(cipher.decrypt(tensor(encrypted)), tensor(plain))
    assert cipher.key_space_bits == pytest.approx(vector['key_space_bits'], abs=1e-6)


@pytest.mark.parametrize('vector', load('padding'))
def test_padding(vector):
    image = array(vector['image'])
    padding = padding_to_blocks(*image.shape[:2], vector['block_size'])
    assert list(padding) == vector['padding_size']
    np.testing.assert_array_equal(pad_image(image, padding), array(vector['padded_image']))
    assert torch.equal(pad_image(tensor(image), padding), tensor(array(vector['padded_image'])))
    if vector.get('label'):
        label, padded = (
            array(vector[name]).reshape(array(vector[name]).shape[:2]) for name in ('label', 'padded_label')
        )
        np.testing.assert_array_equal(pad_label(label, padding), padded)


@pytest.mark.parametrize('vector', load('reference'))
@pytest.mark.filterwarnings('ignore:ReferenceCipher')
def test_reference(vector):
    if vector['kind'] == 'permutation':
        from mmseg_keyprotect.ciphers.reference import reference_permutation

        got = reference_permutation(3 * vector['block_size'] ** 2, vector['seed']).tolist()
        assert got[: len(vector['first'])] == vector['first']
        assert hashlib.sha256(','.join(map(str, got)).encode()).hexdigest() == vector['sha256']
        return
    if vector['kind'] == 'table' or vector['cipher'] == 'ffx':
        pytest.importorskip('pyffx')
    if vector['kind'] == 'table':
        from mmseg_keyprotect.ciphers.reference import reference_table

        table = reference_table(vector['password'])
        assert table.tolist() == vector['table']
        assert table.max() == vector['divisor']
        return
    cfg = {name: vector[name] for name in ('block_size', 'seed', 'password') if name in vector}
    cfg.update(type='ReferenceCipher', transform=REFERENCE[vector['cipher']])
    cipher = build_cipher(cfg)
    plain, encrypted = array(vector['plain']), array(vector['encrypted'])
    np.testing.assert_array_equal(cipher.encrypt(plain), encrypted)
    np.testing.assert_array_equal(cipher.decrypt(encrypted), plain)
    if vector['cipher'] == 'ffx':
        assert cipher.max_value == vector['divisor']
