"""A toy cipher."""

import numpy as np

from mmseg_keyprotect.ciphers import BlockCipher, register_cipher
from mmseg_keyprotect.ciphers.derivation import uniform, words
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey


@register_cipher
class ToyRotation(BlockCipher):
    """Rotate the samples of every block by a keyed number of places."""

    word = 'toy-rotation'
    has_order = True

    def __init__(self, block_size: int, key: SecretKey, channels: int = 3) -> None:
        super().__init__(block_size, key.key_id, channels)
        places = uniform(words(key, f'toy-rotation/M={block_size}/C={channels}'), self.samples)
        self.transform = BlockTransform(np.roll(np.arange(self.samples), places))
        self.key_space_bits = float(np.log2(self.samples))
