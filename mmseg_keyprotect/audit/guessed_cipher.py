"""A cipher with an attacker's estimate of the key."""

from __future__ import annotations

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform


class GuessedCipher(KeyedCipher):
    """What an attacker encrypts with, in the place of the model's own cipher.

    Args:
        correct: The model's cipher, for what is public of it.
        guess: The estimate, for RGB.
    """

    def __init__(self, correct: KeyedCipher, guess: BlockTransform) -> None:
        self._guess = correct.cipher_for(3).with_transform(guess)
        self.channel_order = correct.channel_order
        self.key_id, self.name, self.block_size = correct.key_id, correct.name, correct.block_size
        self._bgr_cipher: BlockCipher | None = None

    def cipher_for(self, channels: int) -> BlockCipher:
        """Return the cipher for colour images; an estimate is for three channels."""
        return self._guess
