"""Block-wise image ciphers on numpy arrays and torch tensors; needs neither torch nor OpenMMLab.

A new cipher is one file here and one line in ``CIPHERS``.
"""

from __future__ import annotations

from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.blocks import pad_image, pad_label, padding_to_blocks
from mmseg_keyprotect.ciphers.build import CIPHERS, DEFAULT_CIPHER, build_cipher
from mmseg_keyprotect.ciphers.keyed import KeyedCipher
from mmseg_keyprotect.ciphers.plain import PlainImages

__all__ = [
    'CIPHERS',
    'DEFAULT_CIPHER',
    'BlockCipher',
    'KeyedCipher',
    'PlainImages',
    'build_cipher',
    'pad_image',
    'pad_label',
    'padding_to_blocks',
]
