"""A page on the client's machine: pick an image and a key, and see what the server answers with and without the key.

The image is sent plain too only if the user says so: the server then sees it, and can compute the key from the pair.

python examples/serving/page.py http://127.0.0.1:8000 --port 8001
"""

from __future__ import annotations

import argparse
import base64
import json
import urllib.error
import urllib.request
from io import BytesIO

import jinja2
import numpy as np
import uvicorn
from client import ask
from fastapi import FastAPI, Form, UploadFile
from fastapi.responses import HTMLResponse
from PIL import Image

from mmseg_keyprotect.ciphers import PlainImages
from mmseg_keyprotect.errors import KeyProtectError
from mmseg_keyprotect.images import Encryptor, read_image
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.keys.files import only_key_line

MAX_BYTES, MAX_KEY_BYTES = 2**25, 2**16

PAGE = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Segmentation with a key</title>
<style>
  body { font: 16px/1.5 sans-serif; max-width: 60em; margin: auto; padding: 1em }
  img { width: 100%; image-rendering: pixelated }
  figure { display: inline-block; width: 18em; max-width: 100%; margin: 0 1em 1em 0 }
  .error { color: #a00 }
</style>
<h1>Segmentation with a key</h1>
<p>The image is encrypted on this machine. The model runs at {{ url }} and needs the key {{ about.key_id }}.</p>
<form method="post" action="/" enctype="multipart/form-data">
  <p><label>Image <input type="file" name="image" required></label></p>
  <p><label>Key file <input type="file" name="key" required></label></p>
  <p><label><input type="checkbox" name="plain" value="yes"> Send the image plain as well, as a user without a key.
    The server then sees it, and can compute your key from the pair.</label></p>
  <p><button>Segment</button></p>
</form>
{% if error %}<p class="error">{{ error }}</p>{% endif %}
{% for caption, picture in pictures %}
<figure>
  <img src="data:image/png;base64,{{ picture }}" alt="{{ caption }}">
  <figcaption>{{ caption }}</figcaption>
</figure>
{% endfor %}
</html>
""")


def make_page(url: str) -> FastAPI:
    """Return the page for the server at an address."""
    with urllib.request.urlopen(f'{url}/about') as answer:
        about = json.load(answer)
    app = FastAPI(openapi_url=None)

    def shown(status: int = 200, error: str = '', pictures: list[tuple[str, str]] | None = None) -> HTMLResponse:
        content = PAGE.render(url=url, about=about, error=error, pictures=pictures or [])
        return HTMLResponse(content, status, {'Cache-Control': 'no-store'})

    @app.get('/')
    def form() -> HTMLResponse:
        """Show the form."""
        return shown()

    @app.post('/')
    def predictions(image: UploadFile, key: UploadFile, plain: str = Form('')) -> HTMLResponse:
        """Show the image and the predictions."""
        try:
            picture, picked = read_image(BytesIO(image.file.read(MAX_BYTES))), _key(key)
            users: dict[str, Encryptor | _Plain] = {
                f'the key {picked.key_id}': Encryptor(picked),
                'a random key': Encryptor(SecretKey.generate()),
            }
            if plain:
                users['no key: the image is sent plain'] = _Plain(about['block_size'])
            masks = {name: ask(f'{url}/mask', picture, user) for name, user in users.items()}
        except KeyProtectError as error:
            return shown(422, str(error))
        except urllib.error.HTTPError as error:
            return shown(502, f'The server refuses: {error.read(1000).decode("utf-8", "replace")}')
        except OSError as error:
            return shown(502, f'The server at {url} does not answer: {error}')
        colours = _colours(about)
        pictures = [('the image', _png(picture)), *((name, _png(colours[mask])) for name, mask in masks.items())]
        return shown(pictures=pictures)

    return app


class _Plain:
    """Sends images as they are, extended to whole blocks."""

    def __init__(self, block_size: int) -> None:
        self.plain = PlainImages(block_size)

    def encrypt(self, image: np.ndarray) -> tuple[np.ndarray, dict]:
        """Return the image, and its size."""
        return self.plain.encrypt(image)[0], dict(size=image.shape[:2])


def _key(upload: UploadFile) -> SecretKey:
    """Return the key of an uploaded key file, which stays in memory."""
    text = upload.file.read(MAX_KEY_BYTES).decode('utf-8', 'replace')
    return SecretKey.from_line(only_key_line(text, 'the key file'), source='the key file')


def _colours(about: dict) -> np.ndarray:
    """Return a colour for every class, uint8 (256, 3)."""
    colours = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
    palette = about['palette'] or []
    colours[: len(palette)] = np.reshape(palette, (-1, 3))
    return colours


def _png(pixels: np.ndarray) -> str:
    file = BytesIO()
    Image.fromarray(pixels).save(file, 'PNG')
    return base64.b64encode(file.getvalue()).decode()


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('url', help='address of the server')
    parser.add_argument('--port', type=int, default=8001)
    args = parser.parse_args()
    uvicorn.run(make_page(args.url), port=args.port)
