"""Training against thieves: a loss that leaves users without the correct key one answer, which says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.errors import AlreadyEncryptedError, ConfigError
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.models.denial.free_layers import FreeLayers
from mmseg_keyprotect.models.features.encryption import FeatureFunction


class Denial:
    """The loss of users without the correct key, and, if asked for, of a thief who learns an un-key meanwhile.

    Such a user has no key and a random wrong key by turns, for images and feature maps alike. The loss is the
    cross-entropy, at every pixel, against the shares of the classes in the batch, least where every pixel gets the most
    frequent class. The model acts for him as in testing: running statistics are used and stay as they are. The thief's
    layers take one step of Adam on the model's own loss each iteration; they are in no state dict, and a resumed
    training begins them anew. Auxiliary heads are not denied.

    Args:
        model: The segmentor, which is not kept.
        weight: Of the loss, above 0.
        un_key: ``lr`` of Adam, above 0, by default 0.01, and ``restart``, after how many iterations the layers begin
            as the identity again, by default 50.

    Raises:
        ConfigError: A bad option, nothing that is encrypted in the model, ``with_cp``, or fewer outputs than classes.
    """

    def __init__(self, model: nn.Module, weight: float = 1.0, un_key: Mapping[str, Any] | None = None) -> None:
        _check_above_0('weight', weight)
        if un_key is not None:
            un_key = dict(lr=0.01, restart=50) | _checked('denial.un_key', un_key, {'lr', 'restart'})
            _check_above_0('un_key.lr', un_key['lr'])
            if type(un_key['restart']) is not int or un_key['restart'] < 1:
                raise ConfigError(
                    f'Expected denial.un_key.restart as a whole number from 1, but got {un_key["restart"]!r}. Use 50.'
                )
        if _cipher_of(model) is None and not hasattr(model, 'feature_encryption'):
            raise ConfigError(
                'Expected encrypted images or feature maps for `denial`, but got neither. Set data_preprocessor.type '
                'to KeyedSegDataPreProcessor, or feature_encryption, or take `denial` out.'
            )
        if any(getattr(module, 'with_cp', False) for module in model.modules()):
            raise ConfigError(
                'Expected a model without checkpointed activations for `denial`, which would be computed again with '
                'the correct key, but got with_cp=True. Set it to False.'
            )
        if model.out_channels < model.num_classes:
            raise ConfigError(
                f'Expected an output for each of the {model.num_classes} classes for `denial`, but got '
                f'{model.out_channels}. Set decode_head.out_channels to the number of classes.'
            )
        self.weight, self.un_key = float(weight), un_key
        self.iteration = 0
        self.thief: FreeLayers | None = None
        self._optimizer: torch.optim.Optimizer | None = None

    @classmethod
    def from_config(cls, options: Mapping[str, Any], model: nn.Module) -> Denial:
        """Return what ``model.denial`` of a configuration asks for."""
        return cls(model, **_checked('denial', options, {'weight', 'un_key'}))

    @property
    def wrong(self) -> bool:
        """Whether this is the turn of a wrong key, and not of no key."""
        return self.iteration % 2 == 1

    def images(self, preprocessor: SegDataPreProcessor, data: Mapping[str, Any]) -> list[Tensor]:
        """Return a batch as users without the correct key send it.

        Args:
            preprocessor: A KeyedSegDataPreProcessor; it and the batch are left as they are.
            data: Of plain images, as for its forward.

        Returns:
            Float tensors (N, C, H, W) like ``inputs``: that of the user whose turn it is, and for un-key a plain one.
        """
        _check_plain(data['data_samples'])
        correct = preprocessor.keyed_cipher
        plain = PlainImages(correct.block_size)
        users = [correct.with_key(_wrong_key()) if self.wrong else plain] + [plain] * (self.un_key is not None)
        found = []
        for encryption in users:
            samples = [sample.clone() for sample in data['data_samples']]
            found.append(preprocessor.prepare({**data, 'data_samples': samples}, True, encryption)['inputs'])
        return found

    def losses(
        self, model: nn.Module, inputs: Tensor, denied: Sequence[Tensor] | None, samples: Sequence[SegDataSample]
    ) -> dict[str, Tensor]:
        """Return the losses of one iteration, scalars, after the model's own.

        Args:
            model: The segmentor in training; its gradients, statistics and functions are left as they are.
            inputs: Float (N, C, H, W), of the correct key.
            denied: As from :meth:`images`; None where images are not encrypted, and ``inputs`` are what all users send.
            samples: With labels, int64 (1, H, W).
        """
        if denied is None:
            if _cipher_of(model) is not None:
                raise ConfigError(
                    'Expected `denied` beside `inputs` for `denial`, as the data preprocessor gives it in training '
                    'mode, but got none. Pass on all that it returns, or set the model to eval mode.'
                )
            _check_plain(samples)
            denied = [inputs, inputs]
        features = getattr(model, 'feature_encryption', None)
        functions = {}
        if features is not None:
            functions = features.functions_of(_wrong_key()) if self.wrong else features.identity_functions
        with _as_in_testing(model, functions):
            losses = dict(loss_denial=self._loss(model, denied[0], samples))
        if self.un_key is not None:
            self._restart(model, denied[1])
            with _as_in_testing(model, self.thief.functions), self.thief.before(model.backbone):
                losses['un_key_own'] = self._learn(model, denied[1], samples)  # no "loss" in it: only logged
                losses['loss_denial_un_key'] = self._loss(model, denied[1], samples)
        self.iteration += 1
        return losses

    def _loss(self, model: nn.Module, images: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
        """Return the cross-entropy against the shares of the classes, times the weight; 0 without a labelled pixel."""
        logits = model.encode_decode(images, [dict(img_shape=images.shape[-2:])] * len(images))
        labels = torch.stack([sample.gt_sem_seg.data for sample in samples])
        head = model.decode_head[-1] if isinstance(model.decode_head, nn.ModuleList) else model.decode_head
        labels = labels[labels != head.ignore_index]
        shares = torch.bincount(labels, minlength=logits.shape[1]) / max(len(labels), 1)
        return -self.weight * (logits.float().log_softmax(1).mean((0, 2, 3)) * shares).sum()

    def _restart(self, model: nn.Module, images: Tensor) -> None:
        """Give the thief new layers, the identity, where it is time."""
        if self.thief is None or self.iteration % self.un_key['restart'] == 0:
            cipher, features = _cipher_of(model), getattr(model, 'feature_encryption', None)
            self.thief = FreeLayers(cipher and cipher.block_size, features, images.shape[1]).to(images.device)
            self._optimizer = torch.optim.Adam(self.thief.requires_grad_(False).parameters(), self.un_key['lr'])

    def _learn(self, model: nn.Module, images: Tensor, samples: Sequence[SegDataSample]) -> Tensor:
        """Let the thief take one step, and return his loss before it."""
        parameters = list(self.thief.requires_grad_(True).parameters())
        loss, _ = model.parse_losses(model.loss(images, samples))
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)  # of his layers alone
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self._optimizer.step()
        self.thief.requires_grad_(False)
        return loss.detach()


@contextmanager
def _as_in_testing(model: nn.Module, functions: Mapping[str, FeatureFunction]) -> Iterator[None]:
    """Let a model act as in testing, with other functions for feature maps, within this block."""
    features = getattr(model, 'feature_encryption', None)
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:
            module.training = False
        with nullcontext() if features is None else features.using(functions):
            yield
    finally:
        for module in training:
            module.training = True


def _cipher_of(model: nn.Module) -> KeyedCipher | None:
    """Return the cipher of images, if they are encrypted."""
    return getattr(model.data_preprocessor, 'keyed_cipher', None)


def _wrong_key() -> SecretKey:
    """Draw a wrong key; it is no secret, and drawn by torch so that a seed repeats a training."""
    return SecretKey.from_bytes(bytes(torch.randint(256, (32,)).tolist()))


def _check_plain(samples: Sequence[SegDataSample]) -> None:
    """Refuse images that are encrypted already."""
    if any('key_id' in sample for sample in samples):
        raise AlreadyEncryptedError(
            'Expected plain images for `denial`, but the pipeline has encrypted them. Take KeyedBlockEncrypt out of '
            'the pipelines and set data_preprocessor.type to KeyedSegDataPreProcessor.'
        )


def _checked(name: str, options: Any, known: set[str]) -> dict[str, Any]:
    """Return options as a dict, and refuse unknown ones."""
    if not isinstance(options, Mapping) or set(options) - known:
        got = sorted(map(str, options)) if isinstance(options, Mapping) else repr(options)
        raise ConfigError(f'Expected `{name}` as a dict with some of {sorted(known)}, but got {got}. Mend it.')
    return dict(options)


def _check_above_0(name: str, value: Any) -> None:
    """Refuse what is no positive number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f'Expected denial.{name} as a number above 0, but got {value!r}. Set a positive number.')
