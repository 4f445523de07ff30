"""Block-wise ciphers of images and feature maps, on numpy arrays and torch tensors.

This package needs neither torch nor OpenMMLab. A new cipher is one file with one class, and one
:func:`mmseg_keyprotect.ciphers.register_cipher`.

Example:
    >>> import numpy as np
    >>> from mmseg_keyprotect.ciphers import build_cipher
    >>> from mmseg_keyprotect.keys import SecretKey
    >>> cipher = build_cipher(dict(type='Shuffle', block_size=4), SecretKey.generate())
    >>> cipher.encrypt(np.zeros((8, 8, 3), dtype=np.uint8)).shape
    (8, 8, 3)
"""

from __future__ import annotations

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, MIN_KEY_BITS, BlockCipher
from mmseg_keyprotect.ciphers.blocks import pad_image, pad_label, padding_to_blocks, round_to_blocks
from mmseg_keyprotect.ciphers.build import DEFAULT_CIPHER, CipherConfig, build_cipher, cipher_parts
from mmseg_keyprotect.ciphers.feature_ciphers import DEFAULT_FEATURE_CIPHER, FeatureCipher, FeatureStep
from mmseg_keyprotect.ciphers.feature_transforms import (
    FEATURE_CIPHERS,
    FeatureBlockShuffle,
    FeatureShuffle,
    FeatureSign,
    FeatureTransform,
    register_feature_cipher,
)
from mmseg_keyprotect.ciphers.ffx import FFX
from mmseg_keyprotect.ciphers.keyed import KeyedCipher
from mmseg_keyprotect.ciphers.negative_positive import NegativePositive
from mmseg_keyprotect.ciphers.plain import PlainImages
from mmseg_keyprotect.ciphers.reference import ReferenceCipher
from mmseg_keyprotect.ciphers.registry import CIPHERS, register_cipher
from mmseg_keyprotect.ciphers.sequence import Sequence
from mmseg_keyprotect.ciphers.shuffle import Shuffle
from mmseg_keyprotect.ciphers.transform import BlockTransform

__all__ = [
    'CIPHERS',
    'DEFAULT_CIPHER',
    'DEFAULT_FEATURE_CIPHER',
    'FEATURE_CIPHERS',
    'FFX',
    'MAX_KEY_BITS',
    'MIN_KEY_BITS',
    'BlockCipher',
    'BlockTransform',
    'CipherConfig',
    'FeatureBlockShuffle',
    'FeatureCipher',
    'FeatureShuffle',
    'FeatureSign',
    'FeatureStep',
    'FeatureTransform',
    'KeyedCipher',
    'NegativePositive',
    'PlainImages',
    'ReferenceCipher',
    'Sequence',
    'Shuffle',
    'build_cipher',
    'cipher_parts',
    'pad_image',
    'pad_label',
    'padding_to_blocks',
    'register_cipher',
    'register_feature_cipher',
    'round_to_blocks',
]
