"""Who tries to use a protected model: with the correct key, with none, a wrong one or a partly right one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.features.encryption import FeatureEncryption, FeatureFunction, KeyedFeatures


@dataclass(frozen=True)
class User:
    """Somebody who tries.

    Args:
        kind: As in AccessRow.
        encryption: What they encrypt images with.
        features: What they do to feature maps, by the name of the place; empty where those are not encrypted.
    """

    kind: str
    encryption: KeyedCipher | PlainImages
    features: Mapping[str, FeatureFunction] = field(default_factory=dict)


def wrong_key(nonce: bytes, number: int) -> SecretKey:
    """Return a random wrong key.

    Args:
        nonce: Fresh random bytes for an evaluation; the same ones give the same keys, so that it can be resumed.
        number: Of the wrong key.
    """
    return SecretKey.from_bytes(HKDF(SHA256(), 32, salt=None, info=f'wrong-key/{number}'.encode()).derive(nonce))


def wrong_cipher(arguments: Mapping[str, Any], nonce: bytes, number: int) -> KeyedCipher:
    """Return a cipher with a random wrong key.

    Args:
        arguments: Of the model's KeyedCipher.
        nonce: As for :func:`wrong_key`.
        number: Of the wrong key.
    """
    return KeyedCipher(**arguments).with_key(wrong_key(nonce, number))


class GuessedCipher(KeyedCipher):
    """The model's cipher with a guess in the place of its key.

    Args:
        correct: The model's cipher.
        guess: Returns the transform that is used for images of so many channels.
    """

    def __init__(self, correct: KeyedCipher, guess: Callable[[int], BlockTransform]) -> None:
        self._correct, self._guess = correct, guess
        self.channel_order = correct.channel_order
        self.key_id, self.name, self.block_size = correct.key_id, correct.name, correct.block_size
        self._ciphers: dict[int, BlockCipher] = {}
        self._bgr_cipher: BlockCipher | None = None

    def cipher_for(self, channels: int) -> BlockCipher:
        """Return the cipher for images of that many channels."""
        if channels not in self._ciphers:
            self._ciphers[channels] = self._correct.cipher_for(channels).with_transform(self._guess(channels))
        return self._ciphers[channels]


def partly_right_cipher(correct: KeyedCipher, known: int, seed: bytes) -> GuessedCipher:
    """Return a cipher that knows a share of the key's positions and has guessed the rest at random.

    Known is where a sample goes, its sign, or (ffx) whether it is keyed and a share of the table. With 0 percent it is
    a wrong key, with 100 the correct one. A guess can be right by chance: half of the signs of negative-positive are.

    Args:
        correct: The model's cipher.
        known: Percent of the positions.
        seed: Of the choice and of the guess.
    """

    def guess(channels: int) -> BlockTransform:
        rng = np.random.default_rng([*seed, known, channels])
        return guess_rest(correct.cipher_for(channels).transform, known / 100, rng)

    return GuessedCipher(correct, guess)


def partly_right_features(encryption: FeatureEncryption, known: int, seed: bytes) -> dict[str, KeyedFeatures]:
    """Return transforms of feature maps that are right for a share of the channels of every place, as above.

    Args:
        encryption: With the correct key.
        known: Percent of the channels.
        seed: Of the choice and of the guess.
    """
    rng = np.random.default_rng([*seed, known])
    return {
        name: KeyedFeatures(
            [step._replace(transform=guess_rest(step.transform, known / 100, rng)) for step in one.steps]
        )
        for name, one in encryption.functions.items()
    }


def guess_rest(transform: BlockTransform, share: float, rng: np.random.Generator) -> BlockTransform:
    """Return a transform that is right at some positions of a block and random at the others.

    Args:
        transform: The correct one.
        share: Of the positions that are right, 0 to 1.
        rng: The source of the choice and of the guess.
    """
    known = rng.random(transform.samples).argsort() < share * transform.samples
    source, mask, keyed, table = transform.source.copy(), transform.mask, transform.keyed, transform.table
    if transform.moves:
        source[~known] = rng.permutation(source[~known])
    if mask.any():
        mask = np.where(known, mask, np.where(rng.random(len(known)) < 0.5, 255, 0))
    if table is not None:
        keyed = np.where(known, keyed, rng.random(len(known)) < 0.5)
        table, unknown = table.copy(), rng.random(256).argsort() >= known.mean() * 256
        free = np.setdiff1d(np.arange(DOMAIN), table[~unknown])
        table[unknown] = rng.permutation(free)[: unknown.sum()]
    return BlockTransform(source, mask, keyed, table)
