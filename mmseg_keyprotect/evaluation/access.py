"""Who gets which accuracy: the correct key, no key, wrong keys (arXiv 2107.09362, section 4)."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank, get_world_size, is_main_process
from mmengine.model import revert_sync_batchnorm
from mmengine.utils import ProgressBar
from mmseg.structures import SegDataSample
from torch import nn

from mmseg_keyprotect.ciphers import KeyedCipher, PlainImages
from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS
from mmseg_keyprotect.config.checks import check_config, raise_problems
from mmseg_keyprotect.config.edit import to_preprocessor_form
from mmseg_keyprotect.config.view import find_model, find_protections
from mmseg_keyprotect.engine.sealed_checkpoints import without_scheme
from mmseg_keyprotect.evaluation.report import AccessReport, AccessRow
from mmseg_keyprotect.evaluation.tally import Tally
from mmseg_keyprotect.keys.identity import identities_of, joined
from mmseg_keyprotect.models.features.encryption import FeatureEncryption
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.scores import Scores, count_pixels
from mmseg_keyprotect.session.users import (
    User,
    partly_right_cipher,
    partly_right_features,
    wrong_cipher,
    wrong_key,
)

BASELINE = 'unprotected'


class AccessEvaluation:
    """A protected model with its test images, to be tried with one key after another.

    Args:
        cfg: A protected configuration with ``test_dataloader``.
        checkpoint: A checkpoint of the configuration's key.
        baseline: The unprotected model to compare with: its configuration and its checkpoint.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration is not protected, or not sound; the data set is empty; the baseline is
            protected, or has other classes or other images.
    """

    def __init__(self, cfg: Config, checkpoint: str, baseline: tuple[Config, str] | None = None) -> None:
        cfg = Config(copy.deepcopy(cfg.to_dict()))
        to_preprocessor_form(cfg)
        raise_problems(check_config(cfg))
        self.images = TestImages(cfg)
        self._cfg = cfg
        self.model = _load(cfg, checkpoint)
        self.features: FeatureEncryption | None = getattr(self.model, 'feature_encryption', None)
        self.cipher: KeyedCipher | None = getattr(self.model.data_preprocessor, 'keyed_cipher', None)
        functions = self.features.functions if self.features else {}
        self.correct = User('correct', self.cipher or PlainImages(1), functions)
        self._unpadded = copy.deepcopy(self.model.data_preprocessor)
        self._unpadded.test_cfg = None
        self.identity = joined(identities_of(self.model).values())
        self.nonce = _shared(secrets.token_bytes(16))
        self._arguments = [protection.cipher_arguments for protection in find_protections(cfg.to_dict())]
        self.sources = [repr(cfg.to_dict()), _digest(checkpoint), self.identity.key_id]
        self.baseline: nn.Module | None = None
        self.baseline_images = self.images
        if baseline is not None:
            baseline_cfg, baseline_checkpoint = baseline
            self.baseline_images = self.images.for_baseline(baseline_cfg)
            self.baseline = _load(baseline_cfg, baseline_checkpoint)
            self.sources += [repr(baseline_cfg.to_dict()), _digest(baseline_checkpoint)]

    @property
    def channel_order(self) -> str:
        """How the test pipeline gives colour images, ``'bgr'`` or ``'rgb'``."""
        return self.cipher.channel_order if self.cipher else 'bgr'

    def without_key(self) -> User:
        """Return the user who has no key: images stay plain, feature maps stay as they are."""
        functions = self.features.identity_functions if self.features else {}
        return User('none', PlainImages(self.correct.encryption.block_size), functions)

    def wrong(self, number: int = 1) -> User:
        """Return the user with the random wrong key of that number."""
        encryption = wrong_cipher(self._arguments[0], self.nonce, number) if self.cipher else self.correct.encryption
        functions = self.features.functions_of(wrong_key(self.nonce, number)) if self.features else {}
        return User('wrong', encryption, functions)

    def partly_right(self, known: int) -> User:
        """Return the user who knows a share of the key, in percent."""
        encryption = partly_right_cipher(self.cipher, known, self.nonce) if self.cipher else self.correct.encryption
        functions = partly_right_features(self.features, known, self.nonce) if self.features else {}
        return User('partly', encryption, functions)

    def prepare(self, user: User, batch: dict[str, Any], padded: bool = True) -> dict[str, Any]:
        """Return what the network gets of a batch from a user.

        Args:
            user: The user.
            batch: As from a data loader.
            padded: Whether images are padded to the test size.
        """
        preprocessor = self.model.data_preprocessor if padded else self._unpadded
        if self.cipher is None:
            return preprocessor(batch, False)
        return preprocessor.prepare(preprocessor.cast_data(batch), False, user.encryption)

    def using(self, user: User) -> AbstractContextManager[None]:
        """Let the model transform feature maps as a user does, within this block."""
        return self.features.using(user.features) if self.features else nullcontext()

    @torch.no_grad()
    def predict(self, user: User, index: int) -> Any:
        """Return the prediction, a SegDataSample, that a user gets for the test image ``index``."""
        if user.kind == 'baseline':
            return self.baseline.test_step(self.baseline_images.batch(index))[0]
        data = self.prepare(user, self.images.batch(index))
        with self.using(user):
            return self.model(**data, mode='predict')[0]

    def pixels(self, user: User, index: int) -> np.ndarray:
        """Return the pixel counts of :func:`count_pixels` of a user's prediction for the test image ``index``."""
        return self._pixels(self.predict(user, index))

    @torch.no_grad()
    def pixels_of(self, model: nn.Module, index: int) -> np.ndarray:
        """Return those of another model's prediction, a model that somebody made of this one."""
        return self._pixels(model.test_step(self.images.batch(index))[0])

    def _pixels(self, output: SegDataSample) -> np.ndarray:
        label, classes = output.gt_sem_seg.data, len(self.images.classes)
        return count_pixels(output.pred_sem_seg.data, label, classes, self.images.ignore_index)

    def stolen_model(self) -> nn.Module:
        """Return another model with the same weights and no key: images come plain, feature maps stay as they are."""
        cfg = Config(copy.deepcopy(self._cfg.to_dict()))
        find_model(cfg).pop('denial', None)  # nobody who steals it trains it against themselves
        model = build_model(cfg)
        model.load_state_dict(self.model.state_dict())
        if self.cipher is not None:
            model.data_preprocessor = model.data_preprocessor.without_key()
        if self.features is not None:
            model.feature_encryption.use(model.feature_encryption.identity_functions)
        return model.to(get_device())

    def users(self, wrong_keys: int, known: Sequence[int]) -> dict[str, User]:
        """Return everybody who is evaluated, by the name in the report."""
        users = {BASELINE: User('baseline', PlainImages(1))} if self.baseline else {}
        users.update({'correct key': self.correct, 'no key': self.without_key()})
        users.update({f'wrong key {n}': self.wrong(n) for n in range(1, wrong_keys + 1)})
        users.update({f'{share}% of the key': self.partly_right(share) for share in known})
        return users

    def run(self, folder: Path, wrong_keys: int, known: Sequence[int] = ()) -> AccessReport:
        """Evaluate everybody in one pass over the images; with several processes each takes a part of them.

        An interrupted evaluation goes on where it was when it is run again with the same ``folder``.

        Args:
            folder: Where the state is kept until the report is written; it must exist.
            wrong_keys: How many random wrong keys.
            known: Percent of the positions that a partly right key has right, one such key each.

        Raises:
            ConfigError: The folder holds the state of another evaluation.
        """
        rank, processes = get_rank(), get_world_size()
        question = repr([*self.sources, self.images.paths, wrong_keys, known, processes])
        users = self.users(wrong_keys, known)
        shape = (len(users), 3, len(self.images.classes))
        tally = Tally(folder / f'state_{rank}.json', sha256(question.encode()).hexdigest(), self.nonce, shape)
        self.nonce = _shared(tally.nonce)
        tally.keep_if(self.nonce)
        tally.save()  # so that the folder is known for one of an evaluation
        users = self.users(wrong_keys, known)
        if self.images.labelled:
            self._count(tally, users, range(rank, len(self.images), processes))
        return self._report(tally.total(), users)

    def _count(self, tally: Tally, users: dict[str, User], mine: range) -> None:
        progress = ProgressBar(len(mine)) if is_main_process() else None
        if progress is not None and tally.done:
            print(f'going on after {tally.done} of {len(mine)} images')
            progress.completed = tally.done
        try:
            for index in mine[tally.done :]:
                tally.add(np.stack([self.pixels(user, index) for user in users.values()]))
                if progress is not None:
                    progress.update()
        finally:
            tally.save()
        if progress is not None:
            print()

    @property
    def key_space_bits(self) -> float:
        """log2 of the number of keys, of images and feature maps together, at most 256."""
        images = self.cipher.cipher_for(3).key_space_bits if self.cipher else 0.0
        return min(images + (self.features.key_space_bits if self.features else 0.0), MAX_KEY_BITS)

    def _report(self, counts: np.ndarray, users: dict[str, User]) -> AccessReport:
        rows, floor = [], None
        if self.images.labelled:
            rows = [
                AccessRow(who, user.kind, Scores.from_counts(row))
                for (who, user), row in zip(users.items(), counts, strict=True)
            ]
            floor = Scores.of_most_frequent(counts[0, 2])
        return AccessReport(
            rows=rows,
            floor=floor,
            classes=list(self.images.classes),
            images=len(self.images),
            key_id=self.identity.key_id,
            cipher=self.identity.cipher,
            key_space_bits=round(self.key_space_bits, 1),
        )


def _load(cfg: Config, checkpoint: str) -> nn.Module:
    model = build_model(cfg)
    load_strictly(model, read_checkpoint(checkpoint)[0])
    device = get_device()
    return (revert_sync_batchnorm(model) if device == 'cpu' else model).to(device).eval()


def _digest(file: str) -> str:
    digest = sha256()
    with open(without_scheme(file), 'rb') as opened:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _shared(value: bytes) -> bytes:
    """Return the value of the main process in every process."""
    values = [value]
    broadcast_object_list(values)
    return values[0]
