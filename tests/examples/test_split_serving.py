"""The two parts of a model in two processes over loopback: the masks of the whole, and bad messages."""

import sys

import numpy as np
import pytest

from helpers import ROOT
from helpers.private_side import save_private_side
from helpers.serving import post, running
from mmseg_keyprotect.keys import SecretKey

for package in ('onnxruntime', 'fastapi', 'uvicorn'):
    pytest.importorskip(package)

sys.path.insert(0, str(ROOT / 'examples' / 'serving'))

from public_client import ask_private  # noqa: E402

from mmseg_keyprotect.sealing import KeyRecipient  # noqa: E402
from mmseg_keyprotect.split import FeatureMessage, PrivatePart, PublicPart, split_model  # noqa: E402

KIND = 'application/x-npz'


@pytest.fixture(scope='module')
def parts(tmp_path_factory):
    """The folder with both parts, and the key beside it."""
    folder = tmp_path_factory.mktemp('parts')
    key = SecretKey.generate()
    key.save(folder / 'my.key')
    cfg, checkpoint = save_private_side(folder)
    split_model(cfg, str(checkpoint), folder / 'parts', [KeyRecipient(key)])
    return folder / 'parts'


@pytest.fixture(scope='module')
def server(parts):
    with running(
        'private_server.py', parts / 'private.sealed', KEYPROTECT_KEY_FILE=str(parts.parent / 'my.key')
    ) as url:
        yield url


@pytest.mark.parametrize('compressed', [False, True])
def test_two_processes_give_the_mask_of_one(server, parts, compressed):
    public = PublicPart.open(parts / 'public' / 'backbone.onnx')
    private = PrivatePart.open(parts / 'private.sealed', SecretKey.load(parts.parent / 'my.key'))
    image = np.random.default_rng(0).integers(256, size=(75, 131, 3), dtype=np.uint8)
    wanted = private.predict(public.features(image))
    assert len(np.unique(wanted)) > 1
    assert np.array_equal(ask_private(f'{server}/mask', public, image, compressed), wanted)


def test_bad_messages(server):
    other = FeatureMessage((64, 64), [np.zeros((8, 16, 16), np.float16)])
    for content, kind, status in ((b'', KIND, 422), (other.to_bytes(), KIND, 422), (b'', 'image/png', 415)):
        found, answer = post(f'{server}/mask', content, kind)
        assert found == status
        assert b'Expected' in answer
