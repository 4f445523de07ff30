"""Block-wise encryption of images as a step of an MMSegmentation pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmseg.registry import TRANSFORMS

from mmseg_keyprotect.ciphers import DEFAULT_CIPHER, KeyedCipher, pad_label
from mmseg_keyprotect.ciphers.build import CipherConfig
from mmseg_keyprotect.ciphers.checksum import image_checksum
from mmseg_keyprotect.ciphers.labels import LabelPadding
from mmseg_keyprotect.errors import AlreadyEncryptedError, ImageFormatError


@TRANSFORMS.register_module()
class KeyedBlockEncrypt(BaseTransform):
    """Pad image and label maps to whole blocks and encrypt the image, as the last step before PackSegInputs.

    In test pipelines this step belongs before LoadAnnotations. There the label keeps the original size, and the
    prediction is cut back by ``padding_size`` and resized to that size. PackSegInputs must pack
    :data:`~mmseg_keyprotect.config.view.META_KEYS`. Source: arXiv 2107.09362, section 3; docs/spec.md.

    Required Keys:

    - img: (H, W) or (H, W, C), 8-bit data: uint8, or floating point of whole numbers from 0 to 255.
    - gt_seg_map, gt_edge_map, gt_depth_map, and what ``label_pad_vals`` names (optional): (H, W) or (H, W, C).

    Modified Keys:

    - img: encrypted, padded at the right and the bottom; uint8, after FFX float32, 0 to 255.
    - gt_seg_map: padded with ``seg_pad_val``.
    - gt_edge_map, gt_depth_map and others: padded with the value that their losses ignore: 255 for edges, 0 for
      depths, that of ``label_pad_vals`` for others.
    - pad_shape: (H, W) after the padding.

    Added Keys:

    - padding_size: (left, right, top, bottom), in pixels.
    - key_id: the public id of the key.
    - cipher: the public description of the cipher, for example ``shuffle+negative-positive/M=4``.
    - encrypted_checksum: the CRC-32 of the encrypted image, by which the preprocessor tells it from others.

    Args:
        cipher: The configuration of a cipher, or a list of them. Defaults to Shuffle, then NegativePositive, both
            with blocks of 4 x 4 pixels.
        key: The key's configuration. By default the environment variable KEYPROTECT_KEY_FILE names the key file.
        key_id: The id that the key must have. By default any key is accepted.
        seg_pad_val: The value that pads segmentation maps, which is the ignore index.
        label_pad_vals: The values that pad other kinds of ground truth, by their names in the pipeline, for example
            ``dict(gt_height_map=-1)``. Edges and depths have the values above by default.
        channel_order: ``'bgr'`` or ``'rgb'``, the order in which the pipeline loads colour images. OpenMMLab's
            loaders give BGR.
        pad_mode: How to pad images: ``'replicate'`` repeats the last row and column.

    Raises:
        AlreadyEncryptedError: The sample has a key id.
        ImageFormatError: The image cannot be encrypted, or a label map has another size than the image.
        ConfigError: The sample has ground truth of a kind whose ignored value is unknown.
        BlockAlignmentError: The image is smaller than one block.

    Example:
        >>> import numpy as np
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> image = np.zeros((6, 8, 3), np.uint8)
        >>> results = KeyedBlockEncrypt(key=SecretKey.generate()).transform(dict(img=image))
        >>> results['img'].shape, results['padding_size'], results['cipher']
        ((8, 8, 3), (0, 0, 0, 2), 'shuffle+negative-positive/M=4')
    """

    def __init__(
        self,
        cipher: CipherConfig = DEFAULT_CIPHER,
        key: Any = None,
        key_id: str | None = None,
        seg_pad_val: int = 255,
        channel_order: str = 'bgr',
        pad_mode: str = 'replicate',
        label_pad_vals: Mapping[str, float] | None = None,
    ) -> None:
        self.keyed_cipher = KeyedCipher(cipher, key, key_id, channel_order, pad_mode)
        self.seg_pad_val = seg_pad_val
        self.label_padding = LabelPadding('gt_seg_map', seg_pad_val, label_pad_vals)

    def transform(self, results: dict) -> dict:
        """Encrypt the image of one sample. Keys and errors are those of the class."""
        if 'key_id' in results:
            raise AlreadyEncryptedError(
                f'Expected a plain image, but got one that the key {results["key_id"]} has encrypted. '
                'Keep one KeyedBlockEncrypt in the pipeline.'
            )
        labels = self._labels(results)
        for name in labels:
            if results[name].shape[:2] != results['img'].shape[:2]:
                raise ImageFormatError(
                    f'Expected `{name}` to be as large as the image, {results["img"].shape[:2]}, but got '
                    f'{results[name].shape[:2]}. Resize both alike in training; in testing, where the label keeps its '
                    'original size, put KeyedBlockEncrypt before LoadAnnotations.'
                )
        results['img'], padding = self.keyed_cipher.encrypt(results['img'])
        for name in labels:
            results[name] = pad_label(results[name], padding, self.label_padding.value(name))
        results['pad_shape'] = results['img'].shape[:2]
        before = results.get('padding_size', (0, 0, 0, 0))
        results['padding_size'] = tuple(a + b for a, b in zip(before, padding, strict=True))
        results['key_id'] = self.keyed_cipher.key_id
        results['cipher'] = self.keyed_cipher.name
        results['encrypted_checksum'] = image_checksum(results['img'])
        return results

    def _labels(self, results: dict) -> list[str]:
        """Return the names of all maps of a sample; raise ConfigError where the ignored value of one is unknown."""
        size, fields = results['img'].shape[:2], results.get('seg_fields') or ()
        labels = [name for name in results if name in self.label_padding or name in fields]
        others = [name for name in results if name.startswith('gt_') and name not in labels]
        labels += [name for name in others if np.shape(results[name])[:2] == size]  # boxes and the like stay
        self.label_padding.check(labels)
        return labels

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.keyed_cipher!r}, seg_pad_val={self.seg_pad_val})'
