"""The served model over loopback: masks of mmseg, many clients at once, bad uploads, a page in a browser."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmseg.registry import MODELS
from PIL import Image

from helpers import ROOT
from helpers.browser import PHONE, measure
from helpers.serving import post, running
from helpers.small_configs import small_config
from mmseg_keyprotect.claims import ask_server
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.images import Encryptor
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.protection import protect_checkpoint

for package in ('onnxruntime', 'fastapi', 'uvicorn'):
    pytest.importorskip(package)

SERVING = ROOT / 'examples' / 'serving'
sys.path.insert(0, str(SERVING))

from client import ask  # noqa: E402

from mmseg_keyprotect.export import export_onnx  # noqa: E402

KEY = SecretKey.from_bytes(bytes(range(32)))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A plain model and its key, and the bound model, exported, plain and sealed."""
    folder = tmp_path_factory.mktemp('serving')
    init_default_scope('mmseg')
    torch.manual_seed(0)
    cfg = Config(small_config('.'))
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        model.decode_head.conv_seg.weight.mul_(30)
        model.decode_head.conv_seg.bias.sub_(model(4 * torch.rand(2, 3, 64, 64) - 2).mean((0, 2, 3)))
    cfg.dump(folder / 'plain.py')
    torch.save(model.state_dict(), folder / 'plain.pth')
    KEY.save(folder / 'my.key')
    key = dict(type='KeyFile', path=str(folder / 'my.key'))
    config, checkpoint = protect_checkpoint(folder / 'plain.py', folder / 'plain.pth', folder / 'bound', key=key)
    cfg = load_quietly(config)
    cfg.model.data_preprocessor.key = key
    export_onnx(cfg, str(checkpoint), folder / 'bound.onnx')
    from mmseg_keyprotect.sealing import KeyRecipient, seal_file

    seal_file(folder / 'bound.onnx', folder / 'sealed.onnx', [KeyRecipient(KEY)])
    return folder


@pytest.fixture(scope='module')
def server(folder):
    """The server that has no key."""
    with running('server.py', folder / 'bound.onnx') as url:
        yield url


@pytest.fixture(scope='module')
def picture():
    """An image of whole blocks."""
    return np.random.default_rng(1).integers(0, 256, (68, 100, 3), dtype=np.uint8)


@pytest.fixture(scope='module')
def wanted(folder, picture):
    """The mask that MMSegmentation gives the bound model and the plain image."""
    from mmseg.apis import inference_model, init_model

    cfg = load_quietly(folder / 'bound' / 'plain.py')
    cfg.model.data_preprocessor.key = dict(type='KeyFile', path=str(folder / 'my.key'))
    model = init_model(cfg, str(folder / 'bound' / 'plain.pth'), device='cpu')
    return inference_model(model, picture[..., ::-1].copy()).pred_sem_seg.data[0].numpy()


def png(image):
    file = BytesIO()
    Image.fromarray(image).save(file, 'PNG')
    return file.getvalue()


def test_the_masks_of_mmseg_from_a_server_without_a_key(server, picture, wanted):
    assert len(np.unique(wanted)) > 1
    assert (ask(f'{server}/mask', picture, Encryptor(KEY)) == wanted).all()
    odd = picture[:67, :98]
    assert ask(f'{server}/mask', odd, Encryptor(KEY)).shape == (67, 98)
    assert (ask_server(f'{server}/mask')(Encryptor(KEY).encrypt(picture)[0]) == wanted).all()  # as `keyprotect claim`


def test_a_sealed_model_whose_key_a_program_prints(folder, picture, wanted):
    """The server that has the key in its vault: clients send plain images."""
    command = dict(KEYPROTECT_KEY_COMMAND=f'cat {folder / "my.key"}')
    with running('server.py', folder / 'sealed.onnx', '--encrypt', **command) as url:
        status, content = post(f'{url}/mask', png(picture))
        assert status == 200
        assert (np.asarray(Image.open(BytesIO(content))) == wanted).all()
        status, content = post(f'{url}/mask', png(picture[:67, :98]))
        assert Image.open(BytesIO(content)).size == (98, 67)


def test_200_clients_at_once(server, picture, wanted):
    encrypted = png(Encryptor(KEY).encrypt(picture)[0])
    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(lambda _: post(f'{server}/mask', encrypted), range(200)))
    assert [status for status, _ in answers] == [200] * 200
    assert len({content for _, content in answers}) == 1
    assert (np.asarray(Image.open(BytesIO(answers[0][1]))) == wanted).all()


def huge():
    """A PNG of a few bytes that claims 10,000 x 10,000 pixels."""
    content = bytearray(png(np.zeros((4, 4, 3), np.uint8)))
    content[16:24] = (10_000).to_bytes(4, 'big') * 2
    import zlib

    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    return bytes(content)


@pytest.mark.parametrize(
    ('content', 'kind', 'status'),
    [
        (b'', 'image/png', 422),
        (b'no image', 'image/png', 422),
        (png(np.zeros((8, 8, 3), np.uint8))[:-30], 'image/png', 422),
        (png(np.zeros((8, 8), np.uint8)), 'image/png', 422),
        (png(np.zeros((8, 8, 4), np.uint8)), 'image/png', 422),
        (png(np.zeros((8, 8), np.uint16)), 'image/png', 422),
        (png(np.zeros((6, 8, 3), np.uint8)), 'image/png', 422),
        (png(np.zeros((8, 8, 3), np.uint8)), 'image/jpeg', 415),
        (huge(), 'image/png', 413),
        (bytes(2**25 + 1), 'image/png', 413),
    ],
    ids=['empty', 'text', 'cut', 'grey', 'alpha', '16 bits', 'no whole blocks', 'type', 'pixels', 'bytes'],
)
def test_bad_uploads(content, kind, status, server):
    found, answer = post(f'{server}/mask', content, kind)
    assert found == status
    assert 'Expected' in json.loads(answer)['detail']
    assert post(f'{server}/mask', png(np.zeros((32, 32, 3), np.uint8)))[0] == 200


def form(**fields):
    """Return the body of a form with files, each a name and its content, and with values; and its type."""
    parts = []
    for name, value in fields.items():
        file, content = value if isinstance(value, tuple) else (None, value)
        named = f'; filename="{file}"' if file else ''
        head = f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
        parts.append(head.encode() + content + b'\r\n')
    return b''.join(parts) + b'--x--\r\n', 'multipart/form-data; boundary=x'


def test_another_key_than_that_of_the_model(folder, server, tmp_path):
    SecretKey.generate().save(tmp_path / 'other.key')
    env = dict(os.environ, KEYPROTECT_KEY_FILE=str(tmp_path / 'other.key'), PYTHONPATH=str(ROOT))
    words = [str(SERVING / 'server.py'), str(folder / 'bound.onnx'), '--encrypt']
    done = subprocess.run([sys.executable, *words], env=env, text=True, capture_output=True)
    assert done.returncode == 1
    assert 'Expected the key and the cipher of the model' in done.stderr
    Image.new('RGB', (8, 8)).save(tmp_path / 'photo.png')
    words = [str(SERVING / 'client.py'), f'{server}/mask', str(tmp_path / 'photo.png'), str(tmp_path / 'mask.png')]
    done = subprocess.run([sys.executable, *words], env=env, text=True, capture_output=True)
    assert done.returncode == 1
    assert 'Expected the key and the cipher of the model' in done.stderr
    assert not (tmp_path / 'mask.png').exists()


def test_the_page_in_a_browser(server, folder, picture, tmp_path):
    with running('page.py', server) as url:
        key = (folder / 'my.key').read_bytes()
        secret = key.split()[-1].partition(b'.')[2]
        files = dict(image=('a.png', png(picture)), key=('my.key', key))
        status, content = post(f'{url}/', *form(**files))
        assert (status, content.count(b'<img'), secret in content) == (200, 3, False)
        status, content = post(f'{url}/', *form(**files, plain=b'yes'))
        assert (status, content.count(b'<img'), secret in content) == (200, 4, False)
        page = tmp_path / 'page.html'
        page.write_bytes(content)
        log, facts = measure(page, PHONE)
        assert (log, facts['images'], facts['loaded'], facts['unnamed']) == ([], '4', '4', '0')
        assert (facts['wide'], facts['cut']) == ('false', '')
        for image, key_file in ((b'x', key), (png(picture), b'no key'), (png(picture), key + key)):
            status, content = post(f'{url}/', *form(image=('a.png', image), key=('my.key', key_file)))
            assert status == 422
            assert b'class="error"' in content
            assert secret not in content
