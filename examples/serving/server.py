"""Serve an exported model over HTTP: POST a PNG to /mask, get the class of each pixel as a PNG.

The server of a model of encrypted images has neither the key nor plain images, unless it is given --encrypt: then it
encrypts plain images itself, with the key that KEYPROTECT_KEY_FILE or KEYPROTECT_KEY_COMMAND names. A sealed model is
opened in memory with the key for sealed files.

    python examples/serving/server.py model.onnx --port 8000
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from io import BytesIO

import numpy as np
import uvicorn
from client import encryptor_for
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from mmseg_keyprotect.errors import BlockAlignmentError, ImageFormatError
from mmseg_keyprotect.export import ExportedModel
from mmseg_keyprotect.images import Encryptor

MAX_BYTES, MAX_PIXELS = 2**25, 2**24
PNG = 'image/png'


def make_app(model: ExportedModel, encryptor: Encryptor | None = None) -> FastAPI:
    """Return the service.

    Args:
        model: The model.
        encryptor: Encrypts plain images; None where clients send encrypted ones, or the model takes plain ones.
    """
    app = FastAPI(title='Segmentation', openapi_url=None)

    @app.get('/about')
    def about() -> dict:
        """Say which key and cipher the model needs, and its classes."""
        return model.about

    @app.post('/mask')
    async def mask(request: Request) -> Response:
        """Return the class of each pixel of an image."""
        content = await body_of(request, PNG, MAX_BYTES)
        return Response(await run_in_threadpool(answer, content), media_type=PNG)

    def answer(content: bytes) -> bytes:
        image = _decode(content)
        try:
            found = model.predict(encryptor.encrypt(image)[0] if encryptor else image, image.shape[:2])
        except (ImageFormatError, BlockAlignmentError) as error:
            raise HTTPException(422, str(error)) from None
        file = BytesIO()
        Image.fromarray(found).save(file, 'PNG')
        return file.getvalue()

    @app.middleware('http')
    async def without_cache(request: Request, call: Callable[[Request], Awaitable[Response]]) -> Response:
        """Keep images and masks out of caches."""
        response = await call(request)
        response.headers['Cache-Control'] = 'no-store'
        return response

    return app


async def body_of(request: Request, media_type: str, most: int) -> bytes:
    """Return the body, and stop reading as soon as it is longer than ``most`` bytes."""
    if request.headers.get('content-type', '').split(';')[0] != media_type:
        raise HTTPException(415, f'Expected a body with Content-Type {media_type}.')
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > most:
            raise HTTPException(413, f'Expected at most {most} bytes.')
    return bytes(content)


def _decode(content: bytes) -> np.ndarray:
    """Return the pixels of a PNG, RGB uint8 (H, W, 3)."""
    try:
        with Image.open(BytesIO(content), formats=['PNG']) as file:
            if file.width * file.height > MAX_PIXELS:
                raise HTTPException(413, f'Expected at most {MAX_PIXELS} pixels.')
            # a conversion would change encrypted samples, and Pillow cuts 16-bit colours to 8 bits
            if file.mode != 'RGB' or '16' in str(file.tile[0][3]):
                raise HTTPException(422, f'Expected an RGB image of 8 bits a sample, but got another: {file.mode}.')
            return np.asarray(file)
    except HTTPException:
        raise
    except Exception:  # Pillow raises errors of many types for a file that is damaged
        raise HTTPException(422, 'Expected a PNG file, but it cannot be read as one.') from None


def main() -> None:
    """Serve a model until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('model', help='file of `keyprotect export`, plain or sealed')
    parser.add_argument('--encrypt', action='store_true', help='take plain images, and encrypt them with the key')
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=8000)
    args = parser.parse_args()
    model = ExportedModel.open(args.model)
    app = make_app(model, encryptor_for(model.about) if args.encrypt else None)
    uvicorn.run(app, host=args.host, port=args.port)


if __name__ == '__main__':
    main()
