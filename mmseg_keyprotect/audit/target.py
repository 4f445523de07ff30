"""What is attacked, and what an attacker is given of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from mmseg_keyprotect.audit.attack import AttackResult
from mmseg_keyprotect.audit.cipher_info import Form
from mmseg_keyprotect.audit.key_shares import Share, feature_shares, key_shares
from mmseg_keyprotect.audit.training import Lessons
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.ciphers.feature_ciphers import FeatureStep
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.evaluation.access import AccessEvaluation
from mmseg_keyprotect.models.features.encryption import FeatureEncryption, KeyedFeatures
from mmseg_keyprotect.session.users import GuessedCipher, User


@dataclass
class Loot:
    """The images of an attacker, RGB uint8 (H, W, 3), of whole blocks.

    Args:
        seen: Those of which he has the encrypted form.
        plain: Others of the same kind, plain.
        labels: The label maps of ``plain``, (H, W); none where he has none.
        lessons: ``plain`` with labels to train with; None where there is no training set.
    """

    seen: list[np.ndarray]
    plain: list[np.ndarray]
    labels: list[np.ndarray] = field(default_factory=list)
    lessons: Lessons | None = None


class Target:
    """A protected model and the images of its attacker.

    Attacks use the public attributes; the correct cipher serves to make what they are given, and to mark them.

    Args:
        cipher: The correct cipher for RGB; None where images are plain.
        loot: The attacker's images.
        evaluation: The model; None where only the cipher is attacked.
        public_weights: The state dict of the public model that the protected one was made from, if there is one.
    """

    def __init__(
        self,
        cipher: BlockCipher | None,
        loot: Loot,
        evaluation: AccessEvaluation | None = None,
        public_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._cipher, self._evaluation = cipher, evaluation
        self.form = Form.of(cipher)
        self.plain, self.labels, self._seen = loot.plain, loot.labels, loot.seen
        self.lessons = loot.lessons
        self.public_weights = public_weights
        self.queries = 0

    @property
    def model(self) -> nn.Module:
        """The protected model: what a thief of weights has."""
        return self._evaluation.model

    def stolen(self) -> nn.Module:
        """Return a copy that is the attacker's to change: no key, plain images, feature maps as they are."""
        return self._evaluation.stolen_model()

    @property
    def features(self) -> FeatureEncryption | None:
        """What everybody knows of the encryption of feature maps: cipher and places; None where there is none."""
        return self._evaluation.features if self.has_model else None

    @property
    def network_sees_rgb(self) -> bool:
        """Whether the backbone gets RGB images, not BGR."""
        conversion = self.model.data_preprocessor.channel_conversion
        return (self._evaluation.channel_order == 'rgb') != conversion

    @property
    def ignore_index(self) -> int:
        """The label of pixels that do not count."""
        return self._evaluation.images.ignore_index

    @property
    def has_model(self) -> bool:
        """Whether there is a model, not a cipher alone."""
        return self._evaluation is not None

    @cached_property
    def encrypted(self) -> list[np.ndarray]:
        """Encrypted images (H, W, 3), uint8; with a table uint16, 0 to 999; none where images are plain."""
        if self._cipher is None:
            return []
        return [self._cipher.encrypt(image) for image in self._seen]

    @property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Plain images with their encrypted form."""
        return list(zip(self._seen, self.encrypted, strict=True))

    def encrypt(self, image: np.ndarray) -> np.ndarray:
        """Have an image of one's choice encrypted: the encryptor as a black box. Queries are counted."""
        self.queries += 1
        return self._cipher.encrypt(image)

    @torch.no_grad()
    def logits(
        self,
        images: Sequence[np.ndarray],
        key: BlockTransform | None,
        features: Mapping[str, BlockTransform] | None = None,
    ) -> Tensor:
        """Return what the model says to plain images that are encrypted with an estimate of the key.

        Args:
            images: RGB uint8 (H, W, 3), of one size.
            key: The estimate; None for plain images.
            features: The estimate for feature maps, see AttackResult; None for feature maps as they are.

        Returns:
            (N, classes, h, w), of the size at which the head predicts; images are not padded to the test size.
        """
        evaluation = self._evaluation
        order = slice(None, None, -1) if evaluation.channel_order == 'bgr' else slice(None)
        tensors = [torch.from_numpy(image[..., order].transpose(2, 0, 1).copy()) for image in images]
        user = thief(evaluation, key, features)
        inputs = evaluation.prepare(user, dict(inputs=tensors), padded=False)['inputs']
        with evaluation.using(user):
            return evaluation.model(inputs, mode='tensor')

    def shares(self, result: AttackResult) -> list[Share]:
        """Mark an estimate of the key, of images and of feature maps."""
        shares = []
        if result.key is not None:
            shares += key_shares(result.key, self._cipher.transform, self.form)
        if result.features is not None:
            shares += feature_shares(result.features, self.features)
        return shares


def thief(
    evaluation: AccessEvaluation, key: BlockTransform | None, features: Mapping[str, BlockTransform] | None
) -> User:
    """Return the user who has estimates of the key, see AttackResult."""
    without = evaluation.without_key()
    guess = without.encryption if key is None else GuessedCipher(evaluation.cipher, lambda channels: key)
    if features is None:
        return User('thief', guess, without.features)
    return User('thief', guess, {name: KeyedFeatures([FeatureStep(one, 1)]) for name, one in features.items()})
