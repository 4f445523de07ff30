"""The users who try a protected model: with the correct key, without one, with a wrong or a partly right key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from mmseg.models.segmentors import BaseSegmentor

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.feature_ciphers import FeatureStep
from mmseg_keyprotect.ciphers.kernels import DOMAIN
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.features.encrypted_modules import FeatureFunction
from mmseg_keyprotect.models.features.encryption import FeatureEncryption, KeyedFeatures


@dataclass(frozen=True)
class User:
    """One user of a protected model.

    Args:
        kind: ``'correct'``, ``'none'``, ``'wrong'``, ``'partly'``, ``'guess'`` or ``'baseline'``.
        encryption: How the user encrypts images; :class:`~mmseg_keyprotect.ciphers.PlainImages` without a key.
        features: What the user does to the feature map of every place, by the name of the place. Empty if the model
            has no encrypted feature maps.
        known: The share of the key that a partly right user knows, in percent; None for all others.
    """

    kind: str
    encryption: KeyedCipher | PlainImages
    features: Mapping[str, FeatureFunction] = field(default_factory=dict)
    known: int | None = None


@dataclass(frozen=True)
class Users:
    """Makes the users of one protected model.

    Args:
        cipher: The correct cipher of images; None if images are plain.
        features: The encryption of feature maps with the correct key; None if feature maps are plain.
    """

    cipher: KeyedCipher | None
    features: FeatureEncryption | None

    @classmethod
    def of(cls, model: BaseSegmentor) -> Users:
        """Return the users of a protected model."""
        return cls(getattr(model.data_preprocessor, 'keyed_cipher', None), getattr(model, 'feature_encryption', None))

    def correct(self) -> User:
        """Return the user with the correct key."""
        return User('correct', self.cipher or PlainImages(1), self.features.functions if self.features else {})

    def without_key(self) -> User:
        """Return the user without a key: images stay plain and feature maps unchanged."""
        functions = self.features.identity_functions if self.features else {}
        return User('none', PlainImages(self.cipher.block_size if self.cipher else 1), functions)

    def wrong(self, nonce: bytes, number: int) -> User:
        """Return the user with a random wrong key.

        Args:
            nonce: See :func:`~mmseg_keyprotect.session.users.wrong_key`.
            number: The number of the wrong key.
        """
        key = wrong_key(nonce, number)
        encryption = self.cipher.with_key(key) if self.cipher else PlainImages(1)
        return User('wrong', encryption, self.features.functions_of(key) if self.features else {})

    def partly_right(self, nonce: bytes, known: int, draw: int = 1) -> User:
        """Return the user who knows a share of the key.

        Args:
            nonce: Fixes which positions are known and how the others are guessed. It says nothing about the key.
            known: The share in percent, 0 to 100.
            draw: The number of the draw; each has other known positions and other guesses.
        """
        seed = nonce + draw.to_bytes(4, 'big')
        encryption = partly_right_cipher(self.cipher, known, seed) if self.cipher else PlainImages(1)
        functions = partly_right_features(self.features, known, seed) if self.features else {}
        return User('partly', encryption, functions, known)

    def guessing(self, key: BlockTransform | None, features: Mapping[str, BlockTransform] | None) -> User:
        """Return the user with an estimate of the key.

        Args:
            key: The estimate for images; None to leave images plain.
            features: The estimates for channels, by the name of the place; None to leave feature maps unchanged.

        Raises:
            ConfigError: ``key`` is given, but images are plain.
        """
        without = self.without_key()
        encryption = without.encryption
        if key is not None:
            if self.cipher is None:
                raise ConfigError(
                    'Expected no estimate of a key of images, because images are plain here, but got one. Give None.'
                )
            encryption = GuessedCipher(self.cipher, lambda channels: key)
        if features is None:
            return User('guess', encryption, without.features)
        return User('guess', encryption, {name: KeyedFeatures([FeatureStep(one, 1)]) for name, one in features.items()})


def wrong_key(nonce: bytes, number: int) -> SecretKey:
    """Return a random wrong key.

    Args:
        nonce: Bytes of an evaluation, drawn or from its seed. The same bytes give the same keys, so that the
            evaluation can be resumed and repeated. They must not depend on the correct key.
        number: The number of the wrong key.

    Example:
        >>> wrong_key(bytes(16), 1).key_id == wrong_key(bytes(16), 1).key_id
        True
    """
    return SecretKey.from_bytes(HKDF(SHA256(), 32, salt=None, info=f'wrong-key/{number}'.encode()).derive(nonce))


class GuessedCipher(KeyedCipher):
    """The model's cipher with a guess in place of its key.

    Args:
        correct: The model's cipher.
        guess: Returns the transform for images with a given number of channels.
    """

    def __init__(self, correct: KeyedCipher, guess: Callable[[int], BlockTransform]) -> None:
        self._correct, self._guess = correct, guess
        self.channel_order = correct.channel_order
        self.key_id, self.name, self.block_size = correct.key_id, correct.name, correct.block_size
        self._ciphers: dict[int, BlockCipher] = {}
        self._bgr_cipher: BlockCipher | None = None

    def cipher_for(self, channels: int) -> BlockCipher:
        """Return the cipher for images with that many channels."""
        if channels not in self._ciphers:
            self._ciphers[channels] = self._correct.cipher_for(channels).with_transform(self._guess(channels))
        return self._ciphers[channels]


def partly_right_cipher(correct: KeyedCipher, known: int, seed: bytes) -> GuessedCipher:
    """Return a cipher that is right at a share of the key's positions and guessed at random elsewhere.

    A known position has the right source and sign. With ffx it is also known whether the position is looked up, and
    the same share of the table is known. With 0 percent the cipher has a wrong key, with 100 the correct one. A guess
    can be right by chance: half of the signs of negative-positive are.

    Args:
        correct: The model's cipher.
        known: The share of the positions in percent.
        seed: Fixes the choice and the guess.
    """

    def guess(channels: int) -> BlockTransform:
        rng = np.random.default_rng([*seed, known, channels])
        return guess_rest(correct.cipher_for(channels).transform, known / 100, rng)

    return GuessedCipher(correct, guess)


def partly_right_features(encryption: FeatureEncryption, known: int, seed: bytes) -> dict[str, KeyedFeatures]:
    """Return transforms of feature maps that are right for a share of the channels of every place.

    Args:
        encryption: With the correct key.
        known: The share of the channels in percent.
        seed: Fixes the choice and the guess.
    """
    rng = np.random.default_rng([*seed, known])
    return {
        name: KeyedFeatures(
            [step._replace(transform=guess_rest(step.transform, known / 100, rng)) for step in one.steps]
        )
        for name, one in encryption.keyed_functions.items()
    }


def guess_rest(transform: BlockTransform, share: float, rng: np.random.Generator) -> BlockTransform:
    """Return a transform that is right at some positions of a block and random at the others.

    Args:
        transform: The correct transform.
        share: The share of right positions, 0 to 1.
        rng: The source of the choice and of the guess.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> correct = BlockTransform(rng.permutation(8))
        >>> bool((guess_rest(correct, 1.0, rng).source == correct.source).all())
        True
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
