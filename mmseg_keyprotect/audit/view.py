"""What one attack may use of a target: what it declares, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from mmengine.config import Config
from mmseg.models.segmentors import BaseSegmentor
from torch import Tensor

from mmseg_keyprotect.audit.attack import NotApplicable
from mmseg_keyprotect.audit.cipher_info import CipherInfo
from mmseg_keyprotect.audit.training import AttackerTrainingSet
from mmseg_keyprotect.ciphers.feature_ciphers import FeatureCipher
from mmseg_keyprotect.ciphers.transform import BlockTransform
from mmseg_keyprotect.models.features.places import Place

if TYPE_CHECKING:
    from mmseg_keyprotect.audit.attacked_model import AttackedModel
    from mmseg_keyprotect.audit.target import Target


class UndeclaredAccessError(RuntimeError):
    """An attack uses something that it does not declare: a mistake in the attack, never an outcome of an audit."""


class View:
    """A target as one attacker sees it.

    Public facts (``cipher_info``, ``feature_cipher``) are always there. Everything else must be granted. Nothing
    that a view returns holds the correct key.

    Args:
        target: The target.
        granted: What the attacker has, out of :data:`~mmseg_keyprotect.audit.attack.NEEDS`.

    Raises:
        UndeclaredAccessError: By the properties and methods, for what is not granted.

    Example:
        >>> view = target.view(needs=('encrypted images',))                    # doctest: +SKIP
        >>> len(view.encrypted)                                                # doctest: +SKIP
        16
        >>> view.plain                                                         # doctest: +SKIP
        Traceback (most recent call last):
        mmseg_keyprotect.audit.view.UndeclaredAccessError: Expected an attack to use only what it declares, ...
    """

    def __init__(self, target: Target, granted: Iterable[str]) -> None:
        self._target, self._granted = target, frozenset(granted)

    def lacks(self, need: str) -> str:
        """Return why something out of ``uses`` is not there, as the end of a sentence; empty if it is."""
        return self._target.lacks(need) if need in self._granted else 'the attack does not declare it'

    @property
    def cipher_info(self) -> CipherInfo:
        """The public facts about the cipher of images."""
        return self._target.cipher_info

    @property
    def feature_cipher(self) -> FeatureCipher | None:
        """The cipher of feature maps, which holds no key; None if feature maps are plain."""
        attacked = self._target.attacked
        return None if attacked is None else attacked.feature_cipher

    @property
    def sought_feature_cipher(self) -> FeatureCipher:
        """The cipher of feature maps, for an attack that seeks its key.

        Raises:
            NotApplicable: Feature maps are plain.
        """
        cipher = self.feature_cipher
        if cipher is None:
            raise NotApplicable('feature maps are not encrypted')
        return cipher

    @property
    def model(self) -> BaseSegmentor:
        """The stolen model, in eval mode, without a key: its weights are to be read, and left unchanged."""
        return self._attacked().model

    def stolen(self) -> BaseSegmentor:
        """Return a new copy of the stolen model, which the attack may change and train."""
        return self._attacked().stolen()

    @property
    def feature_places(self) -> list[Place]:
        """The encrypted places of ``model``; empty if feature maps are plain."""
        return self._attacked().feature_places

    @property
    def network_sees_rgb(self) -> bool:
        """Whether the backbone gets images in RGB order; else BGR."""
        return self._attacked().network_sees_rgb

    def logits(
        self,
        images: Sequence[np.ndarray],
        key: BlockTransform | None,
        features: Mapping[str, BlockTransform] | None = None,
    ) -> Tensor:
        """Return the output of ``model`` for plain images that are encrypted with an estimate of the key.

        Args:
            images: RGB uint8 (H, W, 3), of one size, in whole blocks.
            key: The estimate for images; None to leave them plain.
            features: The estimates for channels, by the name of the place; None to leave feature maps unchanged.

        Returns:
            float (N, classes, h, w), in the resolution of the head; one channel from a binary head with a threshold.
            Images are not padded to the test size.
        """
        return self._attacked().logits(images, key, features)

    def masks(self, images: Sequence[np.ndarray], key: BlockTransform | None) -> np.ndarray:
        """Ask the running model for the masks of plain images that are encrypted with an estimate of the key.

        Args:
            images: RGB uint8 (H, W, 3), of one size, in whole blocks.
            key: The estimate for images; None to leave them plain.

        Returns:
            int64 (N, H, W), the class of each pixel.
        """
        self._check('masks')
        return self._attacked_model().masks(images, key)

    def plain_mask(self, crop: Tensor) -> Tensor:
        """Ask the running model, which has the key, for the mask of a plain crop.

        Args:
            crop: uint8 (C, H, W), as the training pipeline gives it.

        Returns:
            int64 (1, H, W), the class of each pixel.
        """
        self._check('masks of plain images')
        return self._attacked_model().answer(crop).pred_sem_seg.data

    def plain_scores(self, crop: Tensor) -> Tensor:
        """Ask the running model, which has the key, for its scores of a plain crop.

        Args:
            crop: uint8 (C, H, W), as the training pipeline gives it.

        Returns:
            float (classes, H, W), the probability of every class.
        """
        self._check('scores of plain images')
        logits = self._attacked_model().answer(crop).seg_logits.data
        return torch.cat([1 - logits, logits]) if len(logits) == 1 else logits.softmax(0)  # one is a sigmoid already

    @property
    def encrypted(self) -> list[np.ndarray]:
        """Encrypted images (H, W, 3), uint8; with a table uint16, 0 to 999."""
        self._check('encrypted images')
        return self._target.encrypted

    @property
    def pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Plain images, uint8 (H, W, 3), each with its encrypted form."""
        self._check('pairs')
        return self._target.pairs

    @property
    def plain(self) -> list[np.ndarray]:
        """Plain images, RGB uint8 (H, W, 3), of whole blocks, other ones than those of ``encrypted``."""
        self._check('plain images')
        return self._target.data.plain

    @property
    def labels(self) -> list[np.ndarray]:
        """The label maps of ``plain``, (H, W)."""
        self._check('labels')
        return self._target.data.labels

    @property
    def ignore_index(self) -> int:
        """The label of pixels that do not count."""
        self._check('labels')
        return self._attacked_model().ignore_index

    @property
    def training_set(self) -> AttackerTrainingSet:
        """The plain images to train with; their labels are there only if labels are granted.

        Raises:
            NotApplicable: The configuration has no labelled training set, or a wrapper of it mixes images.
        """
        self._check('plain images')
        found = self._target.data.training_set
        if found is None:
            raise NotApplicable(
                'the configuration has no train_dataloader with labels to train with, or its wrapper mixes images'
            )
        return found if 'labels' in self._granted else found.without_labels()

    @property
    def own_model(self) -> Config:
        """The configuration of the attacker's own model, whose classes are those of the attacked model."""
        self._check('plain images')
        own = self._target.data.own_model
        return self.training_set.cfg if own is None else own

    def encrypt(self, image: np.ndarray) -> np.ndarray:
        """Have a chosen image encrypted by a black box; the target counts the queries.

        Args:
            image: RGB uint8 (H, W, 3), of whole blocks.
        """
        self._check('encryptor')
        return self._target.encrypt(image)

    @property
    def public_weights(self) -> Mapping[str, Tensor] | None:
        """The state dict of the public model that the protected one was made from; None if the attacker has none."""
        self._check('public weights')
        return self._target.public_weights

    def _attacked(self) -> AttackedModel:
        self._check('weights')
        return self._attacked_model()

    def _attacked_model(self) -> AttackedModel:
        if self._target.attacked is None:
            raise NotApplicable('there is no model')
        return self._target.attacked

    def _check(self, need: str) -> None:
        if need not in self._granted:
            raise UndeclaredAccessError(
                f'Expected an attack to use only what it declares, {sorted(self._granted)}, but it uses {need!r}; '
                'add it to `needs` or `uses` of the attack.'
            )
