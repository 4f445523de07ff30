"""Compare how a model answers plain images and images that are encrypted with the owner's key, and with random keys."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import mean
from typing import Any

import numpy as np
import torch

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.claims.ask import Ask
from mmseg_keyprotect.config.channels import RGB
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.session.scores import Scores, count_pixels
from mmseg_keyprotect.session.users import wrong_key

RANDOM_KEYS = 99
"""The default number of random keys, so that a claim has at best a p-value of 0.01."""

MAX_BYTE = 255

CHANCE, MARGIN = 0.01, 5.0
"""A claim holds with a p-value of at most this, and so many points above the best random key."""


@dataclass(frozen=True)
class Claim:
    """How alike a model answers plain and encrypted images.

    Args:
        own: The mIoU between its masks of plain images and of those encrypted with the owner's key, in percent.
        random: The same for each of the random keys.
        own_pixels: The share of pixels with the same class, with the owner's key, in percent.
        random_pixels: The same for each of the random keys.
        images: The number of images.
        cipher: The public description of the cipher.
        key_id: The id of the owner's key.
        seed: The seed of the random keys; with it they can be drawn again.
    """

    own: float
    random: list[float]
    own_pixels: float
    random_pixels: list[float]
    images: int
    cipher: str
    key_id: str
    seed: int

    @property
    def rank(self) -> int:
        """The place of the owner's key among all keys; 1 is the most alike, and keys that are as alike come first."""
        return 1 + sum(value >= self.own for value in self.random)

    @property
    def p_value(self) -> float:
        """The chance that a key, drawn before the model was trained, has such a rank in a model without a watermark."""
        return self.rank / (len(self.random) + 1)

    @property
    def margin(self) -> float:
        """The points of mIoU above the best random key; negative if that is better."""
        return self.own - max(self.random)

    @property
    def holds(self) -> bool:
        """Whether the model was trained with the key, as far as this can tell."""
        return self.p_value <= CHANCE and self.margin >= MARGIN

    @property
    def verdict(self) -> str:
        """The result in words."""
        figures = (
            f'The masks of {self.images} plain images, and of these encrypted with the key {self.key_id}, agree '
            f'with an mIoU of {self.own:.1f}. With {len(self.random)} random keys it is {mean(self.random):.1f} on '
            f'average and {max(self.random):.1f} at best. Rank {self.rank}, p = {self.p_value:.3g}.'
        )
        if self.holds:
            return f'The model answers to this key. {figures}'
        return f'Cannot tell: the claim needs p <= {CHANCE:g} and {MARGIN:g} points above the best key. {figures}'

    def to_dict(self) -> dict[str, Any]:
        """Return the claim as plain JSON types."""
        found = dict(rank=self.rank, p_value=self.p_value, margin=round(self.margin, 2), holds=self.holds)
        return dict(verdict=self.verdict, **found, **asdict(self))


def make_claim(
    ask: Ask,
    images: Sequence[np.ndarray],
    cipher: KeyedCipher,
    random_keys: int = RANDOM_KEYS,
    seed: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Claim:
    """Ask a model about images, plain and encrypted with the owner's key and with random keys.

    Every image is asked ``random_keys + 2`` times. Whoever runs the model sees the images plain and encrypted, and can
    compute the owner's key of this cipher from them: use a key that serves nothing else.

    Args:
        ask: The model.
        images: RGB uint8 (H, W, 3), at least one.
        cipher: The owner's cipher with its key, of the channel order ``'rgb'``.
        random_keys: The number of random keys.
        seed: Fixes the random keys, 0 or more and below 2**128; None draws one.
        progress: Is told how many keys are done.

    Raises:
        ConfigError: There are no images, or no random keys, or the cipher makes no 8-bit images.
    """
    if not images or random_keys < 1:
        raise ConfigError(
            f'Expected at least 1 image and 1 random key, but got {len(images)} and {random_keys}. Give more.'
        )
    if cipher.cipher_for(RGB).max_value > MAX_BYTE:
        raise ConfigError(
            f'Expected a cipher that makes 8-bit images, to send to a model, but got {cipher.name}. Use shuffle and '
            'negative-positive.'
        )
    seed = secrets.randbits(32) if seed is None else seed
    nonce = seed.to_bytes(16, 'big')
    plain = [ask(PlainImages(cipher.block_size).encrypt(image)[0]) for image in images]
    classes = 1 + max(int(mask.max()) for mask in plain)

    def alike(of_key: KeyedCipher) -> Scores:
        masks = [ask(of_key.encrypt_raw(image)[0]) for image in images]
        size = max(classes, 1 + max(int(mask.max()) for mask in masks))
        pairs = zip(masks, plain, strict=True)
        return Scores.from_counts(np.sum([_count(mask, wanted, size) for mask, wanted in pairs], axis=0))

    scores = []
    for number in range(random_keys + 1):
        scores.append(alike(cipher if number == 0 else cipher.with_key(wrong_key(nonce, number))))
        progress(number + 1)
    own, *rest = scores
    return Claim(
        own.mIoU,
        [one.mIoU for one in rest],
        own.aAcc,
        [one.aAcc for one in rest],
        len(images),
        cipher.name,
        cipher.key_id,
        seed,
    )


def _count(mask: np.ndarray, wanted: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels of a mask against another, float64 (3, classes)."""
    found, label = (torch.from_numpy(one.astype(np.int64)) for one in (mask, wanted))
    return count_pixels(found, label, classes, ignore_index=-1)
