"""Load a protected model, and predict with it as a given user."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from math import prod
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmseg.models.data_preprocessor import SegDataPreProcessor
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample
from torch import Tensor

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS, BlockCipher
from mmseg_keyprotect.config.channels import image_channels
from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.edit import to_preprocessor_form
from mmseg_keyprotect.config.view import (
    KEYED_ARGUMENTS,
    encrypts,
    find_model,
    is_private_side,
    kind_of,
)
from mmseg_keyprotect.engine.sealed_checkpoints import without_scheme
from mmseg_keyprotect.files import hash_file
from mmseg_keyprotect.keys.identity import Identity, identities_of, joined
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.registered import PREPROCESSOR
from mmseg_keyprotect.session.users import User, Users

PASS_PIXELS = {'cuda': 2**24, 'other': 2**19}
"""Pixels of the images of one forward pass. More gain nothing on a CPU; fewer are tried where a CUDA device is full."""

PASS_LOGITS = 2**30
"""Logits of one forward pass. Some operators count no further than twice as many."""


class Question(NamedTuple):
    """One user's image, as the network gets it.

    Args:
        user: The user.
        inputs: Float (1, C, H, W).
        samples: The data sample of the image.
    """

    user: User
    inputs: Tensor
    samples: list[SegDataSample]

    @property
    def size(self) -> tuple[Any, ...]:
        """What images of one forward pass have in common: their shape for the network, and that of the mask."""
        return (*self.inputs.shape, *self.samples[0].metainfo.get('ori_shape', ()))

    @property
    def pixels(self) -> int:
        """The number of pixels for the network or in the mask, whichever is more."""
        return max(prod(self.inputs.shape[-2:]), prod(self.samples[0].metainfo.get('ori_shape', (0,))[:2]))


class LoadedModel:
    """A model with its weights, which predicts as any user.

    It predicts and never trains, so that it is built without ``denial``.

    Args:
        cfg: A configuration. If it encrypts images, then in the preprocessor.
        checkpoint: A checkpoint of it.

    Attributes:
        cfg: The configuration.
        model: The segmentor, in eval mode, on the default device.
        cipher: The cipher of images; None if images are plain.
        features: The encryption of feature maps; None if feature maps are plain.
        users: Makes the users of the model.
        identity: The public identity of its key and ciphers; None without a key.
        sources: What every result depends on: configuration, digest of the checkpoint, key id.
    """

    identity: Identity | None = None

    def __init__(self, cfg: Config, checkpoint: str) -> None:
        self.cfg = cfg
        self.model = load_model(_without_denial(cfg), checkpoint)
        self.users = Users.of(self.model)
        self.cipher, self.features = self.users.cipher, self.users.features
        self.sources = [repr(cfg.to_dict()), hash_file(without_scheme(checkpoint))]
        self._pass_pixels = PASS_PIXELS['cuda' if get_device() == 'cuda' else 'other']

    @property
    def channel_order(self) -> str:
        """The channel order of the images of the test pipeline, ``'bgr'`` or ``'rgb'``."""
        return self.cipher.channel_order if self.cipher else 'bgr'

    @property
    def image_cipher(self) -> BlockCipher | None:
        """The cipher for images of as many channels as those of the configuration; None if images are plain."""
        return self.cipher.cipher_for(image_channels(self.cfg)) if self.cipher else None

    @property
    def key_space_bits(self) -> float:
        """log2 of the number of keys, of images and feature maps together, at most 256."""
        images = self.image_cipher
        bits = images.key_space_bits if images else 0.0
        return min(bits + (self.features.key_space_bits if self.features else 0.0), MAX_KEY_BITS)

    def prepare(self, user: User, batch: dict[str, Any], padded: bool = True) -> dict[str, Any]:
        """Return what the network gets if a user sends a batch.

        Args:
            user: The user.
            batch: ``inputs`` and ``data_samples``, as from a data loader.
            padded: Whether images are padded to the test size of the configuration.

        Returns:
            ``inputs``, float (N, C, H, W), and ``data_samples``.
        """
        return prepared(self.model.data_preprocessor if padded else self._unpadded, user, batch)

    def predict(self, user: User, batch: dict[str, Any]) -> SegDataSample:
        """Return the prediction that a user gets for a batch of one image."""
        return next(self.predict_each([(user, batch)]))

    @torch.no_grad()
    def predict_each(self, questions: Iterable[tuple[User, dict[str, Any]]]) -> Iterator[SegDataSample]:
        """Yield the predictions that users get, in order.

        Images of one size go through the network together, as many as help and fit into memory. A prediction may differ
        from that for the image alone by the rounding of another order of additions.

        Args:
            questions: Users, and batches of one image.
        """
        waiting: list[Question] = []
        for user, batch in questions:
            data = self.prepare(user, batch)
            one = Question(user, data['inputs'], data['data_samples'])
            most = min(self._pass_pixels, PASS_LOGITS // getattr(self.model, 'num_classes', 1))
            if waiting and (waiting[0].size != one.size or (len(waiting) + 1) * one.pixels > most):
                yield from self._answer(waiting)
                waiting = []
            waiting.append(one)
        if waiting:
            yield from self._answer(waiting)

    def _answer(self, questions: list[Question]) -> Iterator[SegDataSample]:
        """Yield the predictions of one forward pass; of several smaller ones, if a CUDA device has not enough memory.

        Those of a smaller one are given away before the next one begins.
        """
        samples = [sample.new() for one in questions for sample in one.samples]  # they get the predictions
        found: list[SegDataSample] | None = None
        try:
            with using(self.model, *(one.user for one in questions)):
                found = self.model(torch.cat([one.inputs for one in questions]), samples, mode='predict')
        except torch.cuda.OutOfMemoryError:
            if len(questions) == 1:
                raise
        if found is not None:
            yield from found
            return
        half = len(questions) // 2
        self._pass_pixels = half * questions[0].pixels
        yield from self._answer(questions[:half])
        yield from self._answer(questions[half:])

    def stolen(self) -> BaseSegmentor:
        """Return a copy for an attacker who has the weights and no key.

        No part of it holds the key: images come plain, feature maps stay unchanged, and a tied block stem, which
        absorbs the key at every step, is a free one with the absorbed weights.

        Returns:
            A new segmentor in eval mode, on the default device; the attacker may change and train it.
        """
        cfg = _without_denial(self.cfg)
        settings = find_model(cfg)
        preprocessor = settings['data_preprocessor']
        if kind_of(preprocessor) == PREPROCESSOR:
            if settings.get('feature_encryption'):
                settings['feature_encryption'].setdefault('key', preprocessor.get('key'))
            preprocessor['type'] = SegDataPreProcessor.__name__
            for name in KEYED_ARGUMENTS:
                preprocessor.pop(name, None)
        stem = getattr(self.model, 'stem', None)
        if stem is not None:
            options = settings.get('block_stem') or {}
            settings['block_stem'] = {**options, 'block_size': stem.grid.block_size, 'tied': False}
        model = build_model(cfg)
        if self.cipher is not None:
            model.data_preprocessor = self.model.data_preprocessor.without_key()
        model.load_state_dict(self.model.state_dict())
        if self.features is not None:
            model.feature_encryption.use(model.feature_encryption.identity_functions)
        return _on_device(model)

    @cached_property
    def _unpadded(self) -> SegDataPreProcessor:
        """The preprocessor of this model without padding to a test size; only a whole model can build it."""
        cfg = _without_denial(self.cfg)
        if find_model(cfg)['data_preprocessor'].pop('test_cfg', None) is None:
            return self.model.data_preprocessor
        return build_model(cfg).data_preprocessor.to(get_device())


class ProtectedModel(LoadedModel):
    """A protected model with its weights, which predicts as any user.

    Args:
        cfg: A protected configuration. It may encrypt in the pipelines or in the preprocessor. The attribute ``cfg`` is
            a copy in which the preprocessor encrypts, and no pipeline does.
        checkpoint: A checkpoint of the configuration's key.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration is not protected, or not sound.

    Example:
        >>> model = ProtectedModel(cfg, 'iter_20000.pth')                                # doctest: +SKIP
        >>> model.predict(model.users.without_key(), batch).pred_sem_seg.data.shape      # doctest: +SKIP
        torch.Size([1, 512, 1024])
    """

    identity: Identity

    def __init__(self, cfg: Config, checkpoint: str) -> None:
        cfg = Config(copy.deepcopy(cfg.to_dict()))
        to_preprocessor_form(cfg)
        raise_problems(check_config(cfg))
        super().__init__(cfg, checkpoint)
        self.identity = joined(identities_of(self.model).values())
        self.sources.append(self.identity.key_id)


def open_model(cfg: Config, checkpoint: str) -> LoadedModel:
    """Load a protected model, or one with a private side and no key."""
    return (LoadedModel if is_private_side(cfg) and not encrypts(cfg) else ProtectedModel)(cfg, checkpoint)


def prepared(preprocessor: SegDataPreProcessor, user: User, batch: dict[str, Any]) -> dict[str, Any]:
    """Return what the network gets if a user sends a batch.

    Args:
        preprocessor: That of a protected model.
        user: The user.
        batch: ``inputs`` and ``data_samples``, as from a data loader. They may be changed in place.
    """
    if getattr(preprocessor, 'keyed_cipher', None) is None:
        return preprocessor(batch, False)
    return preprocessor.prepare(preprocessor.cast_data(batch), False, user.encryption)


def using(model: BaseSegmentor, *users: User) -> AbstractContextManager[None]:
    """Let a model transform feature maps as users do, within a ``with`` block.

    Args:
        model: A protected model, or a copy of one from
            :meth:`~mmseg_keyprotect.session.model.LoadedModel.stolen`.
        users: The user, or one for each image of a batch.
    """
    features = getattr(model, 'feature_encryption', None)
    return nullcontext() if features is None else features.using(features.by_image([user.features for user in users]))


def load_model(cfg: Config, checkpoint: str) -> BaseSegmentor:
    """Build the model of a configuration and load its weights.

    Returns:
        The model in eval mode, on the default device.
    """
    model = build_model(cfg)
    load_strictly(model, read_checkpoint(checkpoint)[0])
    return _on_device(model)


def _on_device(model: BaseSegmentor) -> BaseSegmentor:
    device = get_device()
    return (revert_sync_batchnorm(model) if device == 'cpu' else model).to(device).eval()


def _without_denial(cfg: Config) -> Config:
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    find_model(cfg).pop('denial', None)
    return cfg
