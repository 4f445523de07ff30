"""What several test files need."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from mmseg_keyprotect.keys import SecretKey

ROOT = Path(__file__).parents[1]
VECTORS = ROOT / 'tests' / 'data' / 'vectors'
DATA = Path(os.environ.get('KEYPROTECT_TEST_DATA', ROOT.parent / 'shared' / 'data'))

SHUFFLE = dict(type='Shuffle', block_size=4)
NEGATIVE = dict(type='NegativePositive', block_size=4)
CIPHERS = {
    'shuffle': SHUFFLE,
    'negative-positive': dict(NEGATIVE, allow_weak=True),
    'ffx': dict(type='FFX', block_size=4),
    'shuffle+negative-positive': [SHUFFLE, NEGATIVE],
    'shuffle+ffx': [SHUFFLE, dict(type='FFX', block_size=4)],
    'reference-SHF': dict(type='ReferenceCipher', transform='SHF', block_size=4, seed=42),
    'reference-NP': dict(type='ReferenceCipher', transform='NP', block_size=4, seed=42),
    'reference-FFX': dict(type='ReferenceCipher', transform='FFX', block_size=4, seed=42),
}

torch.set_num_threads(2)


@pytest.fixture
def key():
    return SecretKey.from_bytes(bytes(range(32)))


@pytest.fixture
def other_key():
    return SecretKey.from_bytes(bytes(range(1, 33)))


@pytest.fixture
def key_file(tmp_path, key, monkeypatch):
    """The file of ``key``, which KEYPROTECT_KEY_FILE names."""
    path = tmp_path / 'test.key'
    key.save(path)
    monkeypatch.setenv('KEYPROTECT_KEY_FILE', str(path))
    return path


@pytest.fixture
def other_key_file(tmp_path, other_key):
    path = tmp_path / 'other.key'
    other_key.save(path)
    return path


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (13, 18, 3), dtype=np.uint8)


@pytest.fixture
def camvid():
    """The real CamVid images and masks."""
    if not (DATA / 'camvid' / 'classes.txt').is_file():
        pytest.skip(f'real data not found: {DATA / "camvid"} (set KEYPROTECT_TEST_DATA)')
    return DATA / 'camvid'
