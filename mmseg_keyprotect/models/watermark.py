"""The data preprocessor that trains a model to answer images encrypted with one key as it answers plain ones."""

from __future__ import annotations

from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.registry import MODELS
from torch import nn

from mmseg_keyprotect.ciphers import PlainImages
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.models.preprocessor import KeyedSegDataPreProcessor


@MODELS.register_module()
class WatermarkSegDataPreProcessor(KeyedSegDataPreProcessor):
    """Encrypts a share of the images of each training batch with the owner's key, and no image in testing.

    The model learns to segment plain images, and images that are encrypted with this key, alike. Images that are
    encrypted with other keys it does not understand. So the owner can show later that a model, which they can only ask,
    was trained with their key (AprilPyone and Kiya, 2021, arXiv 2104.04241, for classification).

    The model is for users without a key. Its checkpoint names none, and loads into the plain model.

    Args:
        share: The share of the images that is encrypted, above 0 and below 1: in each batch this share, and by chance
            one image more.
        **kwargs: The arguments of :class:`~mmseg_keyprotect.models.KeyedSegDataPreProcessor`.

    Raises:
        ConfigError: ``share`` is out of range.

    Example:
        >>> from mmseg_keyprotect.keys import SecretKey
        >>> preprocessor = WatermarkSegDataPreProcessor(share=0.5, key=SecretKey.generate(), mean=[0] * 3, std=[1] * 3)
        >>> preprocessor.state_dict()
        OrderedDict()
    """

    def __init__(self, share: float = 0.25, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < share < 1:
            raise ConfigError(f'Expected the share of encrypted images above 0 and below 1, but got {share}. Set one.')
        self.share = share
        del self.protection

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """Normalise, pad and stack a batch; in training encrypt a share of it before.

        Args:
            data: As of :class:`~mmseg_keyprotect.models.KeyedSegDataPreProcessor`.
            training: Whether label maps are extended with the images, and images encrypted.

        Returns:
            ``inputs``, a float tensor (N, C, H, W), and ``data_samples``.
        """
        if not (training and self.training):
            return SegDataPreProcessor.forward(self, data, training)
        data = self.cast_data(data)
        images = len(data['inputs'])
        marked = int(self.share * images + float(torch.rand(1)))
        plain = PlainImages(self.encryption.block_size)
        return self.prepare(data, True, [self.encryption] * marked + [plain] * (images - marked))

    _save_to_state_dict = nn.Module._save_to_state_dict
    _load_from_state_dict = nn.Module._load_from_state_dict
