"""Load images that a client has encrypted, for a model on a machine without the key."""

from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from mmseg_keyprotect.ciphers.checksum import image_checksum
from mmseg_keyprotect.errors import ConfigError, ImageFormatError, WrongKeyError
from mmseg_keyprotect.images import read_encrypted
from mmseg_keyprotect.images.display import MAX_FFX


@TRANSFORMS.register_module()
class LoadEncryptedImage(BaseTransform):
    """Load an image that ``keyprotect encrypt`` wrote.

    The step replaces LoadImageFromFile, or follows it: MMSegInferencer wants a LoadImageFromFile in every pipeline.

    No later step may change the image, such as resizing or flips. PackSegInputs must pack
    :data:`~mmseg_keyprotect.config.view.META_KEYS`. Source: docs/spec.md, section 10.

    Required Keys:

    - img_path

    Added Keys:

    - img: (H, W, 3) of whole blocks; uint8, after FFX float32, 0 to 255.
    - img_shape: (H, W).
    - ori_shape: (H, W) of the image before the client resized and padded it. Predictions are resized to it.
    - padding_size: (left, right, top, bottom) in pixels, which is cut off predictions.
    - key_id, cipher: those that the file names.
    - encrypted_checksum: the CRC-32 of ``img``.

    Args:
        channel_order: ``'bgr'`` or ``'rgb'``, the order in which the model takes the channels.
        key_id: The id of the model's key, which the file must name. By default any is accepted.
        cipher: The public description of the model's cipher, for example ``shuffle+negative-positive/M=4``, which
            the file must name. By default any is accepted.

    Raises:
        MissingFileError: There is no such file.
        ImageFormatError: The file is not an encrypted image, or there is an array in place of a file.
        WrongKeyError: Another key or cipher encrypted the image.
        UnsupportedSpecError: The file has a newer spec version.

    Example:
        In a configuration::

            test_pipeline = [
                dict(type='LoadEncryptedImage'),
                dict(
                    type='PackSegInputs',
                    meta_keys=('ori_shape', 'img_shape', 'padding_size', 'key_id', 'cipher', 'encrypted_checksum'),
                ),
            ]
    """

    def __init__(self, channel_order: str = 'bgr', key_id: str | None = None, cipher: str | None = None) -> None:
        if channel_order not in ('bgr', 'rgb'):
            raise ConfigError(f"Expected `channel_order` to be 'bgr' or 'rgb', but got {channel_order!r}. Set one.")
        self.channel_order, self.key_id, self.cipher = channel_order, key_id, cipher

    def transform(self, results: dict) -> dict:
        """Load one image. Keys and errors are those of the class."""
        if results.get('img_path') is None:
            raise ImageFormatError(
                'Expected the path of an encrypted image, but got an array, which has no note with its padding and its '
                'size. Give the path of the file that keyprotect encrypt wrote.'
            )
        image, note = read_encrypted(results['img_path'])
        wanted = dict(key_id=self.key_id, cipher=self.cipher)
        for name, value in wanted.items():
            if value not in (None, note[name]):
                raise WrongKeyError(
                    f'Expected an image with the {name} {value}, but {results["img_path"]} has {note[name]}. '
                    'Encrypt it with the key and the cipher of this model.'
                )
        if image.dtype == np.uint16:
            image = image.astype(np.float32) * (np.float32(255) / np.float32(MAX_FFX))
        results['img'] = image if self.channel_order == 'rgb' else np.ascontiguousarray(image[..., ::-1])
        results['img_shape'], results['ori_shape'] = image.shape[:2], tuple(note['size'])
        results['padding_size'] = tuple(note['padding_size'])
        results['key_id'], results['cipher'] = note['key_id'], note['cipher']
        results['encrypted_checksum'] = image_checksum(results['img'])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.channel_order!r}, key_id={self.key_id!r}, cipher={self.cipher!r})'
