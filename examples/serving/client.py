"""Ask the server of an exported model for the mask of an image, which leaves this machine encrypted.

python examples/serving/client.py http://127.0.0.1:8000/mask photo.jpg mask.png
"""

import sys
import urllib.request
from io import BytesIO

import numpy as np
from PIL import Image

from mmseg_keyprotect.images import Encryptor, read_image
from mmseg_keyprotect.keys import build_key


def ask(url: str, image: np.ndarray, encryptor: Encryptor) -> np.ndarray:
    """Return the class of each pixel of an image, RGB uint8 (H, W, 3)."""
    encrypted, note = encryptor.encrypt(image)
    file = BytesIO()
    Image.fromarray(encrypted).save(file, 'PNG')
    request = urllib.request.Request(url, file.getvalue(), {'Content-Type': 'image/png'})
    with urllib.request.urlopen(request) as answer, Image.open(BytesIO(answer.read())) as mask:
        height, width = note['size']
        return np.asarray(mask)[:height, :width]


if __name__ == '__main__':
    url, source, target = sys.argv[1:]
    Image.fromarray(ask(url, read_image(source), Encryptor(build_key()))).save(target)
