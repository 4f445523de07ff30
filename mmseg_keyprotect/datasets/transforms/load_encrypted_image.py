"""Images that a client has encrypted, for a model on a machine without the key."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from mmseg_keyprotect.client import read_encrypted
from mmseg_keyprotect.errors import ConfigError, WrongKeyError

MAX_FFX = np.float32(999)


@TRANSFORMS.register_module()
class LoadEncryptedImage(BaseTransform):
    """Load what ``python -m mmseg_keyprotect.client encrypt`` wrote, in the place of LoadImageFromFile.

    Nothing may change the image after it: no resizing, no flips. PackSegInputs must carry ``META_KEYS`` on.
    Source: docs/spec.md, section 10.

    Required Keys:

    - img_path

    Added Keys:

    - img: (H, W, 3) of whole blocks; uint8, after FFX float32, 0 to 255.
    - img_shape: (H, W).
    - ori_shape: (H, W) of the image before the client resized and extended it, to which predictions are resized.
    - padding_size: (left, right, top, bottom), which is cut off predictions.
    - key_id, cipher: as the file says.

    Args:
        channel_order: ``'bgr'`` or ``'rgb'``, as the model's pipeline had images.
        key_id: If set, the id of the model's key, which images must have.

    Raises:
        ImageFormatError: The file is no encrypted image.
        WrongKeyError: It was encrypted with another key.
    """

    def __init__(self, channel_order: str = 'bgr', key_id: str | None = None) -> None:
        if channel_order not in ('bgr', 'rgb'):
            raise ConfigError(f"Expected `channel_order` to be 'bgr' or 'rgb', but got {channel_order!r}.")
        self.channel_order, self.key_id = channel_order, key_id

    def transform(self, results: dict) -> dict:
        """Load one image."""
        image, note = read_encrypted(results['img_path'])
        if self.key_id not in (None, note['key_id']):
            raise WrongKeyError(
                f'Expected an image encrypted with the key {self.key_id}, but {results["img_path"]} was with the key '
                f'{note["key_id"]}. Encrypt it with the key of this model.'
            )
        if image.dtype == np.uint16:
            image = image.astype(np.float32) * (np.float32(255) / MAX_FFX)
        results['img'] = image if self.channel_order == 'rgb' else np.ascontiguousarray(image[..., ::-1])
        results['img_shape'], results['ori_shape'] = image.shape[:2], tuple(note['size'])
        results['padding_size'] = tuple(note['padding_size'])
        results['key_id'], results['cipher'] = note['key_id'], note['cipher']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(channel_order={self.channel_order!r}, key_id={self.key_id!r})'
