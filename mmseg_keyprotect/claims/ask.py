"""Ask a model for the mask of an image, wherever it runs."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import torch
from mmengine.config import Config
from mmseg.structures import SegDataSample
from PIL import Image

from mmseg_keyprotect.engine.sealed_checkpoints import read_content
from mmseg_keyprotect.errors import AnswerError, ConfigError
from mmseg_keyprotect.export import ExportedModel
from mmseg_keyprotect.session.model import load_model

Ask = Callable[[np.ndarray], np.ndarray]
"""Takes an image, RGB uint8 (H, W, 3), and returns the class of each pixel, integers (H, W)."""

TIMEOUT = 60.0
"""Seconds that a server may take for one image."""

LARGEST_ANSWER = 2**26
"""Bytes of an answer, at most."""


def ask_checkpoint(cfg: Config, checkpoint: str) -> Ask:
    """Return a function that asks a plain model.

    Images reach the model as they are: the test pipeline does not resize them.

    Args:
        cfg: The configuration of the model.
        checkpoint: Its checkpoint.

    Raises:
        CheckpointError: The checkpoint does not fit the configuration.
    """
    model = load_model(cfg, checkpoint)

    @torch.no_grad()
    def ask(image: np.ndarray) -> np.ndarray:
        size = image.shape[:2]
        sample = SegDataSample(metainfo=dict(ori_shape=size, img_shape=size, pad_shape=size))
        tensor = torch.from_numpy(image[..., ::-1].transpose(2, 0, 1).copy())
        found = model.test_step(dict(inputs=[tensor], data_samples=[sample]))[0]
        return found.pred_sem_seg.data[0].long().cpu().numpy()

    return ask


def ask_exported(path: str) -> Ask:
    """Return a function that asks a model of :func:`~mmseg_keyprotect.export.export_onnx`.

    Args:
        path: The file, plain or sealed; the key of sealed checkpoints opens it.

    Raises:
        MissingFileError: There is no such file.
        WrongKeyError: The file is sealed for others.
        SealedFileError: The file is sealed, and damaged.
        CheckpointError: It holds no exported model.
        ImageFormatError: By the returned function: the model takes images of another size.
    """
    return ExportedModel(read_content(path), path).predict


def ask_server(url: str, timeout: float = TIMEOUT) -> Ask:
    """Return a function that asks a model behind HTTP.

    Each image is sent as PNG (POST, ``image/png``). The answer is a PNG of one channel, 8 or 16 bits, with the class of
    each pixel.

    Args:
        url: The address, http or https.
        timeout: Seconds that one answer may take.

    Raises:
        ConfigError: The address is of another kind.
        AnswerError: By the returned function: the server does not answer, or with something else than such a mask.
    """
    if urlsplit(url).scheme not in ('http', 'https'):
        raise ConfigError(f'Expected the address of a server, http or https, but got {url}. Give one.')

    def ask(image: np.ndarray) -> np.ndarray:
        file = BytesIO()
        Image.fromarray(image).save(file, 'PNG')
        request = urllib.request.Request(url, file.getvalue(), {'Content-Type': 'image/png'}, method='POST')
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                content = answer.read(LARGEST_ANSWER + 1)
        except (urllib.error.URLError, OSError) as error:
            raise AnswerError(
                f'Expected a mask from {url}, but got {error}. Check the address and the server.'
            ) from None
        return read_mask(content, image.shape[:2])

    return ask


def read_mask(content: bytes, size: tuple[int, ...]) -> np.ndarray:
    """Read the answer of a server.

    Args:
        content: The bytes of a PNG file.
        size: (H, W) of the image that was sent.

    Returns:
        The class of each pixel, uint8 or int32 (H, W).

    Raises:
        AnswerError: It is no such mask.
    """
    try:
        if len(content) > LARGEST_ANSWER:
            raise ValueError(f'more than {LARGEST_ANSWER} bytes')
        with Image.open(BytesIO(content), formats=['PNG']) as mask:
            if mask.size != (size[1], size[0]) or len(mask.getbands()) != 1:
                raise ValueError(f'{len(mask.getbands())} channels of {mask.size[1]} x {mask.size[0]} pixels')
            return np.asarray(mask)
    except (ValueError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise AnswerError(
            f'Expected a PNG of one channel and {size[0]} x {size[1]} pixels as the answer, but got {error}. '
            'Send the class of each pixel as a PNG.'
        ) from None
