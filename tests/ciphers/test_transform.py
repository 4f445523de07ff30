"""A transform of blocks is key material."""

import copy
import pickle

import numpy as np
import pytest

from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import LeakedKeyError


def test_it_is_never_pickled():
    """It is key material, as a key is."""
    transform = BlockTransform(np.array([1, 0]))
    with pytest.raises(LeakedKeyError, match='key material'):
        pickle.dumps(transform)
    assert copy.deepcopy(transform) is transform
