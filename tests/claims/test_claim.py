"""Claims: models that know a key, models that do not, servers, and the page."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from helpers.browser import PHONE, measure
from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.claims import ask_server, make_claim, write_claim
from mmseg_keyprotect.claims.ask import read_mask
from mmseg_keyprotect.cli.main import main
from mmseg_keyprotect.errors import AnswerError, ConfigError, MissingFileError
from mmseg_keyprotect.session.plain_images import chosen, images_in

CLASSES = 4


@pytest.fixture
def cipher(key):
    return KeyedCipher(key=key, channel_order='rgb')


@pytest.fixture
def images():
    """Smooth pictures, whose classes are bands of brightness."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (3, 4, 6, 3)).astype(np.uint8)
    return [np.asarray(Image.fromarray(one).resize((48, 32), Image.Resampling.BICUBIC)) for one in small]


def by_brightness(image):
    """Segment an image by its brightness, as a model that knows no key."""
    return (image.mean(-1) / 256 * CLASSES).astype(np.uint8)


def trained_with(cipher, share):
    """A model that undoes one key in a share of the rows, and segments by brightness."""

    def ask(image):
        own = cipher.cipher_for(3).decrypt(image)
        smooth = [np.abs(np.diff(one.astype(int), axis=0)).mean() for one in (image, own)]
        if smooth[0] <= smooth[1]:
            return by_brightness(image)
        mask = by_brightness(image)
        rows = round(share * len(mask))
        mask[:rows] = by_brightness(own)[:rows]
        return mask

    return ask


def test_a_model_that_knows_the_key(cipher, images):
    done = []
    claim = make_claim(trained_with(cipher, 1.0), images, cipher, seed=1, progress=done.append)
    assert (claim.own, claim.own_pixels, claim.rank, claim.p_value) == (100, 100, 1, 0.01)
    assert claim.holds
    assert claim.verdict.startswith('The model answers to this key.')
    assert max(claim.random) < 60
    assert done == list(range(1, 101))


def test_a_model_that_does_not(cipher, images, other_key):
    other = KeyedCipher(key=other_key, channel_order='rgb')
    for ask in (by_brightness, trained_with(other, 1.0), lambda image: np.zeros(image.shape[:2], np.uint8)):
        claim = make_claim(ask, images, cipher, seed=1)
        assert not claim.holds
        assert claim.verdict.startswith('Cannot tell')


def test_a_rank_without_a_margin_and_a_margin_without_enough_keys_prove_nothing(cipher, images):
    claim = make_claim(trained_with(cipher, 1.0), images, cipher, random_keys=9, seed=1)
    assert (claim.rank, claim.p_value, claim.holds) == (1, 0.1, False)
    near = claim.__class__(**{**vars(claim), 'own': 30.0, 'random': [29.0] * 99})
    assert (near.rank, near.p_value, near.holds) == (1, 0.01, False)
    same = claim.__class__(**{**vars(claim), 'own': 100.0, 'random': [100.0] * 99})
    assert (same.rank, same.p_value) == (100, 1.0)


def test_the_same_seed_gives_the_same_keys(cipher, images):
    first, again, other = (make_claim(by_brightness, images, cipher, 5, seed) for seed in (3, 3, 4))
    assert first == again
    assert first.random != other.random


@pytest.mark.parametrize(('count', 'keys'), [(0, 5), (1, 0)])
def test_bad_numbers(count, keys, cipher, images):
    with pytest.raises(ConfigError, match='at least 1 image and 1 random key'):
        make_claim(by_brightness, images[:count], cipher, keys)


def test_a_cipher_with_a_table_is_refused(key, images):
    cipher = KeyedCipher(dict(type='FFX', block_size=4), key, channel_order='rgb')
    with pytest.raises(ConfigError, match='8-bit images'):
        make_claim(by_brightness, images, cipher)


@pytest.mark.parametrize('width', [PHONE, 1280])
def test_the_page_in_a_browser(width, cipher, images, tmp_path):
    ask = trained_with(cipher, 1.0)
    claim = make_claim(ask, images, cipher, 99, seed=1)
    page = write_claim(claim, ask, images, cipher, tmp_path, dict(model='suspect.pth', date='2026-11-26'))
    lines, found = measure(page, width, '--window-size=1300,900')
    assert lines == []
    assert (found['wide'], found['cut'], found['broken']) == ('false', '', '')
    written = json.loads((tmp_path / 'claim.json').read_text())
    assert (written['holds'], written['rank'], len(written['random'])) == (True, 1, 99)


class Server(BaseHTTPRequestHandler):
    """Answers with the mask, or as ``path`` says."""

    def do_POST(self):
        image = np.asarray(Image.open(BytesIO(self.rfile.read(int(self.headers['Content-Length'])))))
        mask = by_brightness(image)
        answers = {'/mask': mask, '/small': mask[:-1], '/rgb': image}
        file = BytesIO()
        Image.fromarray(answers.get(self.path, mask)).save(file, 'PNG')
        body = b'{"mask": []}' if self.path == '/json' else file.getvalue()[: 60 if self.path == '/cut' else None]
        self.send_response(500 if self.path == '/broken' else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def url():
    server = HTTPServer(('127.0.0.1', 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server(url, images, key_file, tmp_path, capsys):
    assert (ask_server(f'{url}/mask')(images[0]) == by_brightness(images[0])).all()
    photos = tmp_path / 'photos'
    photos.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(photos / f'{number}.png')
    words = ['--url', f'{url}/mask', '--images', photos, '--random-keys', 3, '--count', 2, '-o', tmp_path / 'claim']
    assert main(['claim', *map(str, words)]) == 0
    assert 'Cannot tell' in capsys.readouterr().out
    assert main(['claim', *map(str, words)]) == 1
    assert 'Expected an empty folder' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('path', 'found'),
    [
        ('/small', '1 channels of 31 x 48 pixels'),
        ('/rgb', '3 channels'),
        ('/json', 'cannot identify'),
        ('/cut', 'Expected a PNG of one channel'),
        ('/broken', 'HTTP Error 500'),
    ],
)
def test_bad_answers(path, found, url, images):
    with pytest.raises(AnswerError, match=found):
        ask_server(f'{url}{path}')(images[0])


def test_no_answer(images):
    with pytest.raises(AnswerError, match='Check the address'):
        ask_server('http://127.0.0.1:9/mask')(images[0])
    with pytest.raises(ConfigError, match='http or https'):
        ask_server('file:///etc/passwd')
    with pytest.raises(AnswerError, match='more than'):
        read_mask(bytes(2**26 + 1), (1, 1))


def test_images(tmp_path):
    with pytest.raises(MissingFileError, match='has none'):
        images_in(tmp_path, 2)
    with pytest.raises(ConfigError, match='at least 1 image'):
        chosen(3, 0)


def test_an_exported_model(images, key, key_file, tmp_path, capsys):
    pytest.importorskip('onnxruntime')
    import torch
    from mmengine.config import Config
    from mmseg.registry import MODELS

    from helpers.small_configs import small_config
    from mmseg_keyprotect.export import export_onnx

    cfg = Config(small_config('.'))
    torch.save(MODELS.build(cfg.model).state_dict(), tmp_path / 'plain.pth')
    export_onnx(cfg, str(tmp_path / 'plain.pth'), tmp_path / 'model.onnx', size=(32, 48), seal=key)
    (tmp_path / 'images').mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / 'images' / f'{number}.png')
    words = ['--onnx', str(tmp_path / 'model.onnx'), '--images', str(tmp_path / 'images'), '--random-keys', '3']
    assert main(['claim', *words, '-o', str(tmp_path / 'out')]) == 0
    assert 'Cannot tell' in capsys.readouterr().out
    assert 'model.onnx' in (tmp_path / 'out' / 'claim.html').read_text()


@pytest.mark.parametrize(
    'words', [[], ['config.py'], ['--url', 'http://x'], ['config.py', 'a.pth', '--url', 'http://x', '--images', '.']]
)
def test_a_model_is_named_once(words, key_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('config.py', 'a.pth'):
        (tmp_path / name).touch()
    with pytest.raises(SystemExit):
        main(['claim', *words, '-o', str(tmp_path / 'claim')])
    assert '--url' in capsys.readouterr().err
    assert not (tmp_path / 'claim').exists()
