"""Ask the server of an exported model for the mask of an image, which leaves this machine encrypted.

python examples/serving/client.py http://127.0.0.1:8000/mask photo.jpg mask.png
"""

import json
import sys
import urllib.error
import urllib.request
from io import BytesIO
from typing import Any
from urllib.parse import urljoin

import numpy as np
from PIL import Image

from mmseg_keyprotect.errors import WrongKeyError
from mmseg_keyprotect.images import Encryptor, read_image
from mmseg_keyprotect.keys import build_key

TIMEOUT = 60


def ask(url: str, image: np.ndarray, encryptor: Encryptor) -> np.ndarray:
    """Return the class of each pixel of an image, RGB uint8 (H, W, 3)."""
    encrypted, note = encryptor.encrypt(image)
    file = BytesIO()
    Image.fromarray(encrypted).save(file, 'PNG')
    request = urllib.request.Request(url, file.getvalue(), {'Content-Type': 'image/png'})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer, Image.open(BytesIO(answer.read())) as mask:
        height, width = note['size']
        return np.asarray(mask)[:height, :width]


def encryptor_for(about: dict[str, Any]) -> Encryptor:
    """Return what encrypts images for a model, with the key of the environment.

    Args:
        about: The metadata of the model.

    Raises:
        WrongKeyError: The model needs another key, or another cipher than the default one.
    """
    encryptor = Encryptor(build_key())
    needed, cipher = (about['key_id'], str(about['cipher']).split(',')[0]), encryptor.cipher
    if (cipher.key_id, cipher.name) != needed:
        raise WrongKeyError(
            f'Expected the key and the cipher of the model, {needed[0]} and {needed[1]}, but got {cipher.key_id} and '
            f'{cipher.name}. Give its key, or its `cipher` to Encryptor in this file.'
        )
    return encryptor


if __name__ == '__main__':
    url, source, target = sys.argv[1:]
    with urllib.request.urlopen(urljoin(url, '/about'), timeout=TIMEOUT) as answer:
        encryptor = encryptor_for(json.load(answer))
    try:
        Image.fromarray(ask(url, read_image(source), encryptor)).save(target)
    except urllib.error.HTTPError as error:
        sys.exit(error.read(1000).decode('utf-8', 'replace'))
