"""What several test files need."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
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
