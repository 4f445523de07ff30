"""The target of an audit: a cipher, a model, and the data of its attacker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from mmengine.config import Config
from torch import Tensor

from mmseg_keyprotect.audit.attack import ANSWERS, NEEDS, AttackResult, NotApplicable
from mmseg_keyprotect.audit.attacked_model import AttackedModel
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.key_shares import Share, feature_shares, key_shares
from mmseg_keyprotect.audit.picture_quality import Likeness, compare
from mmseg_keyprotect.audit.training import AttackerTrainingSet
from mmseg_keyprotect.audit.view import View
from mmseg_keyprotect.ciphers.base import BlockCipher
from mmseg_keyprotect.models.features.encryption import FeatureEncryption

OF_THE_MODEL = ('weights', 'masks', *ANSWERS)
"""What an attacker has only where there is a model."""


@dataclass
class AttackerData:
    """The images of an attacker, RGB uint8 (H, W, 3), of whole blocks.

    Args:
        seen: The images of which the attacker has the encrypted form.
        plain: Other images of the same kind, plain.
        labels: The label maps of ``plain``, (H, W); empty if the attacker has none.
        training_set: ``plain`` with labels, to train with; None if there is no training set.
        own_model: The configuration of a model that the attacker trains in the place of one like the owner's; or None.
    """

    seen: list[np.ndarray]
    plain: list[np.ndarray]
    labels: list[np.ndarray] = field(default_factory=list)
    training_set: AttackerTrainingSet | None = None
    own_model: Config | None = None


class Target:
    """A protected model and the data of its attacker.

    The target knows the correct key, to make what an attacker is given and to score estimates. Attacks get a
    :class:`~mmseg_keyprotect.audit.view.View` and never the target itself.

    Args:
        cipher: The correct cipher, for as many channels as the images have; None if images are plain.
        data: The attacker's images.
        attacked: The model; None if only the cipher is attacked.
        features: The encryption of feature maps with the correct key; None if feature maps are plain.
        public_weights: The state dict of the public model that the protected one was made from; None if the attacker
            has none.
    """

    def __init__(
        self,
        cipher: BlockCipher | None,
        data: AttackerData,
        attacked: AttackedModel | None = None,
        features: FeatureEncryption | None = None,
        public_weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        self._cipher, self._features = cipher, features
        self.cipher_info = CipherInfo.of(cipher)
        self.data, self.attacked, self.public_weights = data, attacked, public_weights
        self.queries = 0

    def view(self, needs: Sequence[str], uses: Sequence[str] = ()) -> View:
        """Return what an attacker may use.

        Args:
            needs: What the attacker must have, out of :data:`~mmseg_keyprotect.audit.attack.NEEDS`.
            uses: What the attacker also gets where the target has it.

        Raises:
            NotApplicable: The target lacks something out of ``needs``.
            ValueError: A need is not in the list.
        """
        unknown = sorted({*needs, *uses} - set(NEEDS))
        if unknown:
            raise ValueError(f'Expected needs of an attack out of {NEEDS}, but got {unknown}; correct the attack.')
        for need in needs:
            if reason := self.lacks(need):
                raise NotApplicable(reason)
        return View(self, {*needs, *uses})

    def lacks(self, need: str) -> str:
        """Return why the attacker does not have something, as the end of a sentence; empty if they have it.

        Args:
            need: One of :data:`~mmseg_keyprotect.audit.attack.NEEDS`.
        """
        if need in OF_THE_MODEL and self.attacked is None:
            return 'there is no model'
        if need == 'weights' and self.attacked is not None and self.attacked.is_private_side:
            return 'the private weights are on another machine'
        if need == 'labels' and not self.data.labels:
            return 'the images have no labels'
        if need == 'public weights' and self.public_weights is None:
            return 'no public weights are given'
        if need in ('encrypted images', 'pairs') and not self.encrypted:
            plain = 'no image is left to be encrypted, since the attacker has all of them plain'
            return plain if self.cipher_info.bits else 'images are not encrypted'
        return ''

    def require_key(self, seeks: str | None) -> None:
        """Check that there is a key of the kind that an attack seeks.

        Args:
            seeks: See :class:`~mmseg_keyprotect.audit.attack.Attack`.

        Raises:
            NotApplicable: There is none, or it is of another kind.
        """
        if seeks == 'images' and not self.cipher_info.bits:
            raise NotApplicable('images are not encrypted')
        if seeks == 'feature maps':
            cipher = None if self.attacked is None else self.attacked.feature_cipher
            if cipher is None:
                raise NotApplicable('feature maps are not encrypted')
            if cipher.block_size > 1:
                raise NotApplicable('the key mixes positions of the feature map, so it is no permutation of channels')

    @cached_property
    def encrypted(self) -> list[np.ndarray]:
        """Encrypted images (H, W, 3), uint8; with a table uint16, 0 to 999. Empty if images are plain."""
        if self._cipher is None:
            return []
        return [self._cipher.encrypt(image) for image in self.data.seen]

    @property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Plain images, each with its encrypted form."""
        return list(zip(self.data.seen, self.encrypted, strict=True))

    def encrypt(self, image: np.ndarray) -> np.ndarray:
        """Encrypt an image (H, W, 3) and count the query.

        Raises:
            NotApplicable: Images are plain.
        """
        if self._cipher is None:
            raise NotApplicable('images are not encrypted')
        self.queries += 1
        return self._cipher.encrypt(image)

    def shares(self, result: AttackResult) -> list[Share]:
        """Score the estimates of a result against the correct key."""
        shares = []
        if result.key is not None:
            assert self._cipher is not None, 'an attack estimates a key of images only where there is one'
            shares += key_shares(result.key, self._cipher.transform, self.cipher_info)
        if result.features is not None:
            assert self._features is not None, 'an attack estimates a key of feature maps only where there is one'
            shares += feature_shares(result.features, self._features)
        return shares

    def pictures(self, result: AttackResult) -> list[Likeness]:
        """Compare the reconstructions of a result with the plain images, beside baselines; empty if there are none."""
        if result.pictures is None:
            return []
        data = self.data
        return compare(result.pictures, data.seen, self.encrypted, data.plain, self.cipher_info)
