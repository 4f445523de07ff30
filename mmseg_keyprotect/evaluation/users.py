"""Who tries to use a protected model: with the correct key, with none, a wrong one or a partly right one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mmseg_keyprotect.ciphers import KeyedCipher
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.feature_ciphers import FeatureTransform
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.feature_encryption import FeatureEncryption, FeatureFunction, KeyedFeatures


@dataclass(frozen=True)
class User:
    """Somebody who tries.

    Args:
        kind: As in AccessRow.
        cipher: What he encrypts images with; None for plain images.
        features: What he does to feature maps, by the name of the place; None for nothing.
    """

    kind: str
    cipher: KeyedCipher | None = None
    features: Mapping[str, FeatureFunction] | None = None


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
    key = wrong_key(nonce, number)
    arguments = {**arguments, 'key': key, 'key_id': None}
    cipher = arguments.get('cipher')
    parts = cipher if isinstance(cipher, list | tuple) else [cipher]
    if any('seed' in part for part in parts if part):  # the reference implementation's form of a key
        seed = int.from_bytes(key.derive('reference-seed', 4), 'little')
        arguments['cipher'] = [{**part, 'seed': seed} for part in parts]
    return KeyedCipher(**arguments)


class PartlyRightCipher(KeyedCipher):
    """A cipher that knows a share of the key's positions and has guessed the rest at random.

    Known is where a sample goes, its sign, or (ffx) whether it is keyed and a share of the table. With 0 percent it is
    a wrong key, with 100 the correct one. A guess can be right by chance: half of the signs of negative-positive are.

    Args:
        correct: The model's cipher.
        known: Percent of the positions.
        seed: Of the choice and of the guess.
    """

    def __init__(self, correct: KeyedCipher, known: int, seed: bytes) -> None:
        self._correct, self._known, self._seed = correct, known / 100, seed
        self.channel_order = correct.channel_order
        self.key_id, self.name, self.block_size = correct.key_id, correct.name, correct.block_size
        self._ciphers: dict[int, BlockCipher] = {}
        self._bgr_cipher: BlockCipher | None = None

    def cipher_for(self, channels: int) -> BlockCipher:
        """Return the cipher for images of that many channels."""
        if channels not in self._ciphers:
            correct = self._correct.cipher_for(channels)
            rng = np.random.default_rng([*self._seed, round(100 * self._known), channels])
            known = rng.random(correct.samples).argsort() < self._known * correct.samples
            self._ciphers[channels] = correct.with_transform(guess_rest(correct.transform, known, rng))
        return self._ciphers[channels]


def guess_rest(transform: BlockTransform, known: np.ndarray, rng: np.random.Generator) -> BlockTransform:
    """Return a transform that is right at the known positions of a block and random at the others.

    Args:
        transform: The correct one.
        known: bool (n,).
        rng: The source of the guess.
    """
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


def partly_right_features(encryption: FeatureEncryption, known: int, seed: bytes) -> dict[str, KeyedFeatures]:
    """Return transforms of feature maps that are right for a share of the channels of every place, as above.

    Args:
        encryption: With the correct key.
        known: Percent of the channels.
        seed: Of the choice and of the guess.
    """
    rng = np.random.default_rng([*seed, known])

    def guess(transform: FeatureTransform) -> FeatureTransform:
        right = rng.random(len(transform.source)).argsort() < known / 100 * len(transform.source)
        source, sign = transform.source.copy(), transform.sign
        if (source != np.arange(len(source))).any():
            source[~right] = rng.permutation(source[~right])
        if (sign < 0).any():
            sign = np.where(right, sign, np.where(rng.random(len(sign)) < 0.5, -1, 1)).astype(np.int8)
        return FeatureTransform(source, sign, transform.block_size)

    return {
        name: KeyedFeatures([guess(transform) for transform in function.transforms])
        for name, function in encryption.functions.items()
    }
