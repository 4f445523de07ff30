"""Who gets which accuracy: the correct key, no key, wrong keys (arXiv 2107.09362, section 4)."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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

from mmseg_keyprotect.ciphers.base import MAX_KEY_BITS
from mmseg_keyprotect.engine.config_check import check_config, raise_problems
from mmseg_keyprotect.engine.pipelines import find_protections, to_preprocessor_form
from mmseg_keyprotect.engine.sealed_checkpoints import without_scheme
from mmseg_keyprotect.evaluation.images import TestImages
from mmseg_keyprotect.evaluation.report import AccessReport, AccessRow
from mmseg_keyprotect.evaluation.scores import Scores, count_pixels
from mmseg_keyprotect.evaluation.tally import Tally
from mmseg_keyprotect.evaluation.users import (
    User,
    partly_right_cipher,
    partly_right_features,
    wrong_cipher,
    wrong_key,
)
from mmseg_keyprotect.identity import identities_of, joined
from mmseg_keyprotect.models.feature_encryption import FeatureEncryption
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint

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
        cipher = getattr(self.model.data_preprocessor, 'keyed_cipher', None)
        self.correct = User('correct', cipher, self.features and self.features.functions)
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
        return self.correct.cipher.channel_order if self.correct.cipher else 'bgr'

    def wrong(self, number: int = 1) -> User:
        """Return the user with the random wrong key of that number."""
        cipher = wrong_cipher(self._arguments[0], self.nonce, number) if self.correct.cipher else None
        features = self.features and self.features.functions_of(wrong_key(self.nonce, number))
        return User('wrong', cipher, features)

    def partly_right(self, known: int) -> User:
        """Return the user who knows a share of the key, in percent."""
        cipher = partly_right_cipher(self.correct.cipher, known, self.nonce) if self.correct.cipher else None
        return User('partly', cipher, self.features and partly_right_features(self.features, known, self.nonce))

    @contextmanager
    def using(self, user: User) -> Iterator[nn.Module]:
        """Let the model be used as a user does, within this block."""
        try:
            self._use(user)
            yield self.model
        finally:
            self._use(self.correct)

    def _use(self, user: User) -> None:
        if self.correct.cipher is not None:
            self.model.data_preprocessor.keyed_cipher = user.cipher
        if self.features is not None:
            self.features.use(user.features)

    @torch.no_grad()
    def predict(self, user: User, index: int) -> Any:
        """Return the prediction, a SegDataSample, that a user gets for the test image ``index``."""
        if user.kind == 'baseline':
            return self.baseline.test_step(self.baseline_images.batch(index))[0]
        with self.using(user) as model:
            return model.test_step(self.images.batch(index))[0]

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
        model = build_model(self._cfg)
        model.load_state_dict(self.model.state_dict())
        model.denial = None  # nobody who steals it trains it against himself
        if self.correct.cipher is not None:
            model.data_preprocessor.keyed_cipher = model.data_preprocessor.denial = None
        if self.features is not None:
            model.feature_encryption.use(None)
        return model.to(get_device())

    def users(self, wrong_keys: int, known: Sequence[int]) -> dict[str, User]:
        """Return everybody who is evaluated, by the name in the report."""
        users = {BASELINE: User('baseline')} if self.baseline else {}
        users.update({'correct key': self.correct, 'no key': User('none')})
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
        images = self.correct.cipher.cipher_for(3).key_space_bits if self.correct.cipher else 0.0
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
