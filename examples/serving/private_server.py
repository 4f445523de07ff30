"""Serve the private part of a model over HTTP: POST feature maps to /mask, get the class of each pixel as a PNG.

It runs where the key is, and sees no image. What sends the feature maps is public_client.py, on any machine.

    python examples/serving/private_server.py parts/private.sealed --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import os
from io import BytesIO

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool
from PIL import Image
from server import PNG, body_of

from mmseg_keyprotect.errors import FeatureMessageError
from mmseg_keyprotect.split import FeatureMessage, PrivatePart

AT_ONCE = os.cpu_count() or 1
FEATURES = 'application/x-npz'


def make_app(part: PrivatePart) -> FastAPI:
    """Return the service of a private part."""
    app = FastAPI(title='Private part', openapi_url=None)
    busy = asyncio.Semaphore(AT_ONCE)  # each inflates a message, and makes logits in the size of an image

    @app.get('/about')
    def about() -> dict:
        """Say which feature maps it takes, and its classes."""
        return part.about

    @app.post('/mask')
    async def mask(request: Request) -> Response:
        """Return the class of each pixel of the image whose feature maps came."""
        content = await body_of(request, FEATURES, part.most_bytes)
        async with busy:
            mask = await run_in_threadpool(answer, content)
        return Response(mask, media_type=PNG, headers={'Cache-Control': 'no-store'})

    def answer(content: bytes) -> bytes:
        try:
            found = part.predict(FeatureMessage.from_bytes(content, part.most_bytes))
        except FeatureMessageError as error:
            raise HTTPException(422, str(error)) from None
        file = BytesIO()
        Image.fromarray(found).save(file, 'PNG')
        return file.getvalue()

    return app


def main() -> None:
    """Serve a private part until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('part', help='private.sealed of `keyprotect split`')
    parser.add_argument('--host', default='127.0.0.1')
    parser.add_argument('--port', type=int, default=8000)
    args = parser.parse_args()
    uvicorn.run(make_app(PrivatePart.open(args.part)), host=args.host, port=args.port)


if __name__ == '__main__':
    main()
