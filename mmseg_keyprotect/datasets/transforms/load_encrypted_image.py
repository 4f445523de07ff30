"""Images that a client has encrypted, for a model on a machine without the key."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from mmseg_keyprotect.errors import ConfigError, WrongKeyError
from mmseg_keyprotect.images import read_encrypted

MAX_FFX = np.float32(999)


@TRANSFORMS.register_module()
class LoadEncryptedImage(BaseTransform):
    """Load what ``python -m mmseg_keyprotect.images encrypt`` wrote, in the place of LoadImageFromFile.

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
        cipher: If set, the public description of the model's cipher, which images must have, for example
            ``shuffle+negative-positive/M=4``.

    Raises:
        ImageFormatError: The file is no encrypted image.
        WrongKeyError: It was encrypted with another key or cipher.
        UnsupportedSpecError: It is of a newer version.
    """

    def __init__(self, channel_order: str = 'bgr', key_id: str | None = None, cipher: str | None = None) -> None:
        if channel_order not in ('bgr', 'rgb'):
            raise ConfigError(f"Expected `channel_order` to be 'bgr' or 'rgb', but got {channel_order!r}.")
        self.channel_order, self.key_id, self.cipher = channel_order, key_id, cipher

    def transform(self, results: dict) -> dict:
        """Load one image."""
        image, note = read_encrypted(results['img_path'])
        wanted = dict(key_id=self.key_id, cipher=self.cipher)
        for name, value in wanted.items():
            if value not in (None, note[name]):
                raise WrongKeyError(
                    f'Expected an image of the {name} {value}, but {results["img_path"]} has the {name} {note[name]}. '
                    'Encrypt it with the key and the cipher of this model.'
                )
        if image.dtype == np.uint16:
            image = image.astype(np.float32) * (np.float32(255) / MAX_FFX)
        results['img'] = image if self.channel_order == 'rgb' else np.ascontiguousarray(image[..., ::-1])
        results['img_shape'], results['ori_shape'] = image.shape[:2], tuple(note['size'])
        results['padding_size'] = tuple(note['padding_size'])
        results['key_id'], results['cipher'] = note['key_id'], note['cipher']
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.channel_order!r}, key_id={self.key_id!r}, cipher={self.cipher!r})'
