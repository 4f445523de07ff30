"""Reading the test vectors."""

import base64
import json

import numpy as np
import pytest

from helpers import VECTORS


def load(name):
    vectors = json.loads((VECTORS / f'{name}.json').read_text())['vectors']
    return [pytest.param(vector, id=vector['name']) for vector in vectors]


def array(document):
    raw = np.frombuffer(base64.b64decode(document['data']), dtype=np.dtype(document['dtype']).newbyteorder('<'))
    return raw.reshape(document['shape']).astype(document['dtype'])
