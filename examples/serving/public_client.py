"""Run the public part of a model here, and ask the server of its private part for the mask of an image.

python examples/serving/public_client.py parts/public/backbone.onnx http://127.0.0.1:8000/mask photo.jpg mask.png
"""

import sys
import urllib.error
import urllib.request
from io import BytesIO

import numpy as np
from PIL import Image

from mmseg_keyprotect.images import read_image
from mmseg_keyprotect.split import PublicPart

TIMEOUT = 60


def ask_private(url: str, part: PublicPart, image: np.ndarray, compressed: bool = False) -> np.ndarray:
    """Return the class of each pixel of an image, RGB uint8 (H, W, 3), of which only feature maps leave this machine.

    Deflating them costs more time than it saves, except on a slow line.
    """
    body = part.features(image).to_bytes(compressed)
    request = urllib.request.Request(url, body, {'Content-Type': 'application/x-npz'})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, Image.open(BytesIO(answer.read())) as mask:
        return np.asarray(mask)


if __name__ == '__main__':
    public, url, source, target = sys.argv[1:]
    try:
        Image.fromarray(ask_private(url, PublicPart.open(public), read_image(source))).save(target)
    except urllib.error.HTTPError as error:
        sys.exit(error.read(1000).decode('utf-8', 'replace'))
