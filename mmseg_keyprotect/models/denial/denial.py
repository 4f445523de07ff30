"""The loss that trains a model to predict the majority class when the key is wrong or missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.errors import ConfigError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.denial.attacker import UnKeyAttacker
from mmseg_keyprotect.models.denial.checks import (
    check_model,
    check_number,
    check_plain,
    checked_options,
    checked_un_key,
)
from mmseg_keyprotect.models.denial.heads import all_logits
from mmseg_keyprotect.models.features.encrypted_modules import FeatureFunction

USERS = 4
"""One denied user in so many has no key, and every other a wrong one."""


class Denial:
    """Trains the model to predict the majority class when the key is wrong or missing.

    In each iteration, a share of the images of the batch is denied: each of them to a user of its own. One user in four
    has no key, and every other has a random wrong key for images and feature maps. The loss is the cross-entropy, at
    every pixel, against the shares of the classes in these images. It is least where the model predicts these shares
    everywhere, so the predicted class is the most frequent one. Auxiliary heads, and the first head of a cascade, get
    the same loss. For the denied users the model acts as in testing: it uses running statistics and leaves them as they
    are.

    With ``un_key``, an attacker is denied as well, who learns layers that replace the key: see
    :class:`~mmseg_keyprotect.models.denial.attacker.UnKeyAttacker`. The attacker has the plain images of every batch
    and their labels, and trains for one step in each iteration.

    Args:
        model: The segmentor, which is checked and not kept.
        weight: The weight of the loss, above 0.
        share: The share of the images of a batch that is denied, above 0 and at most 1; at least one image is.
        un_key: ``lr``, the learning rate of Adam, above 0, by default 0.01; and ``restart``, the number of iterations
            after which the attacker's layers start as the identity again, by default 50. None for no such attacker.

    Raises:
        ConfigError: An option is out of its range, nothing is encrypted in the model, activations are checkpointed
            (``with_cp``), or the model has fewer outputs than classes.
    """

    def __init__(
        self,
        model: BaseSegmentor,
        weight: float = 1.0,
        share: float = 1.0,
        un_key: Mapping[str, Any] | None = None,
    ) -> None:
        check_number('weight', weight)
        check_number('share', share, 1)
        self.weight, self.share = float(weight), float(share)
        self.un_key = None if un_key is None else checked_un_key(un_key)
        check_model(model)
        self.iteration = 0
        self._keys: list[SecretKey | None] = []
        self.attacker: UnKeyAttacker | None = None
        """The attacker, from the first iteration with ``un_key`` on."""

    @classmethod
    def from_config(cls, options: Mapping[str, Any], model: BaseSegmentor) -> Denial:
        """Return the denial that ``model.denial`` of a configuration describes.

        Args:
            options: ``weight``, ``share`` and ``un_key``.
            model: The segmentor.

        Raises:
            ConfigError: An option is unknown; or see the class.
        """
        return cls(model, **checked_options('denial', options, {'weight', 'share', 'un_key'}))

    def wrong_keys(self, images: int) -> list[SecretKey | None]:
        """Return the keys of the denied users of this iteration; None for a user without a key.

        Args:
            images: N, the number of images of the batch. The first of them are denied.
        """
        users = math.ceil(self.share * images)
        if len(self._keys) != users:
            without = [(user + self.iteration) % USERS == 0 for user in range(users)]
            self._keys = [None if one else _wrong_key() for one in without]
        return self._keys

    def encryptions(
        self, correct: KeyedCipher, samples: Sequence[SegDataSample]
    ) -> list[list[KeyedCipher | PlainImages]]:
        """Return how users without the correct key encrypt the images of this iteration.

        Args:
            correct: The cipher with the correct key.
            samples: The samples of the batch, whose images must be plain.

        Returns:
            The encryptions of the denied users, each of one image; and, with ``un_key``, those of the attacker, who
            sends every image plain.

        Raises:
            AlreadyEncryptedError: The pipeline has encrypted an image.
        """
        check_plain(samples)
        plain = PlainImages(correct.block_size)
        users = [plain if key is None else correct.with_key(key) for key in self.wrong_keys(len(samples))]
        return [users] if self.un_key is None else [users, [plain] * len(samples)]

    def losses(
        self, model: BaseSegmentor, inputs: Tensor, denied: Sequence[Tensor] | None, samples: Sequence[SegDataSample]
    ) -> dict[str, Tensor]:
        """Return the losses of one iteration, to be added to the model's own.

        Args:
            model: The segmentor in training. Its gradients, running statistics and feature functions stay as they are.
            inputs: Float (N, C, H, W), encrypted with the correct key.
            denied: The images for each of ``encryptions``, float (K, C, H, W), the first K of the batch. None where
                images are not encrypted, so that every user sends ``inputs``.
            samples: One for each image, with labels, int64 (1, H, W).

        Returns:
            Scalars: ``loss_denial``, and ``loss_denial_aux`` of the mean of the other heads, if the model has some;
            with ``un_key`` also ``loss_denial_un_key``, and ``un_key_own``, the attacker's loss before their step,
            which is logged and not part of the sum.

        Raises:
            ConfigError: Images are encrypted and ``denied`` is None.
            AlreadyEncryptedError: The pipeline has encrypted an image.
        """
        keys = self.wrong_keys(len(samples))
        if denied is None:
            if _cipher_of(model) is not None:
                raise ConfigError(
                    'Expected `denied` beside `inputs` for `denial`, as the data preprocessor gives it in training '
                    'mode, but got none. Pass on all that it returns, or set the model to eval mode.'
                )
            check_plain(samples)
            denied = [inputs[: len(keys)], inputs]
        features = getattr(model, 'feature_encryption', None)
        functions = {} if features is None else features.functions_of_each(keys)
        with _as_in_testing(model, functions):
            logits, others = all_logits(model, denied[0])
            losses = dict(loss_denial=self._loss(model, logits, samples[: len(keys)]))
            if others:
                aux = [self._loss(model, one, samples[: len(keys)]) for one in others]
                losses['loss_denial_aux'] = torch.stack(aux).mean()
        if self.un_key is not None:
            if self.attacker is None or self.iteration % self.un_key['restart'] == 0:
                self.attacker = UnKeyAttacker(model, denied[1], self.un_key['lr'])
            layers = self.attacker.layers
            with _as_in_testing(model, layers.functions), layers.before(model.backbone):
                # mmengine sums the entries whose names contain "loss", and only logs the others
                losses['un_key_own'] = self.attacker.step(model, denied[1], samples)
                losses['loss_denial_un_key'] = self._loss(model, all_logits(model, denied[1])[0], samples)
        self._keys = []
        self.iteration += 1
        return losses

    def _loss(self, model: BaseSegmentor, logits: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
        """Return the cross-entropy against the shares of the classes in the images, times the weight.

        Args:
            model: The segmentor.
            logits: Floating point (N, classes, H, W).
            samples: One for each image, with labels.

        Returns:
            A float32 scalar; 0 where no pixel is labelled.
        """
        labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
        head = model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
        labels = labels[labels != head.ignore_index]
        shares = torch.bincount(labels, minlength=logits.shape[1]) / max(len(labels), 1)
        return -self.weight * (logits.float().log_softmax(1).mean((0, 2, 3)) * shares).sum()


@contextmanager
def _as_in_testing(model: BaseSegmentor, functions: Mapping[str, FeatureFunction]) -> Iterator[None]:
    """Within the ``with`` block, set a model to eval mode and apply other functions to its feature maps."""
    features = getattr(model, 'feature_encryption', None)
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:  # not model.eval(), since a frozen part may be in eval mode already and must stay so
            module.training = False
        with nullcontext() if features is None else features.using(functions):
            yield
    finally:
        for module in training:
            module.training = True


def _cipher_of(model: BaseSegmentor) -> KeyedCipher | None:
    """Return the cipher of the images, if the model encrypts them."""
    return getattr(model.data_preprocessor, 'keyed_cipher', None)


def _wrong_key() -> SecretKey:
    """Draw a wrong key; torch draws it, so that a seed repeats a training, since it need not be secret."""
    return SecretKey.from_bytes(bytes(torch.randint(256, (32,)).tolist()))
