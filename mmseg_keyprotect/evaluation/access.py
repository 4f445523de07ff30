"""Measure the accuracy of every user: correct key, no key, wrong keys (arXiv 2107.09362, section 4)."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import get_rank, get_world_size, is_main_process
from mmseg.models.segmentors import BaseSegmentor
from mmseg.structures import SegDataSample

from mmseg_keyprotect.ciphers import PlainImages
from mmseg_keyprotect.engine.progress import TaskProgress
from mmseg_keyprotect.engine.sealed_checkpoints import without_scheme
from mmseg_keyprotect.evaluation.report import AccessReport
from mmseg_keyprotect.evaluation.rows import AccessRow
from mmseg_keyprotect.evaluation.tally import Tally
from mmseg_keyprotect.files import hash_file
from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel, load_model
from mmseg_keyprotect.session.processes import on_main_process
from mmseg_keyprotect.session.scores import Scores
from mmseg_keyprotect.session.users import User

BASELINE = 'unprotected'
"""The name of the unprotected model in reports."""

BASELINE_USER = User('baseline', PlainImages(1))
"""The user of the unprotected model."""

DRAWS = 5
"""The default number of partly right keys for each share of the key."""

SEED_BYTES = 16
"""The length of a seed."""

DRAWN_BITS = 32
"""The length of a drawn seed, short enough to type."""


class AccessEvaluation:
    """A protected model with its test images, and optionally an unprotected model to compare with.

    Args:
        cfg: A protected configuration with ``test_dataloader``.
        checkpoint: A checkpoint of the configuration's key.
        baseline: The configuration and the checkpoint of the unprotected model.
        seed: Fixes the wrong and the partly right keys, 0 or more and below 2**128; None draws one of 32 bits. It
            is no secret, and says nothing about the correct key.

    Attributes:
        protected: The protected model.
        images: Its test images.
        correct: The user with the correct key.
        nonce: The seed as 16 bytes, the same in every process.

    Raises:
        WrongKeyError: The checkpoint belongs to another key.
        ConfigError: The configuration is not protected, or not sound; the data set is empty; the baseline is
            protected, or has other classes or other images.
    """

    def __init__(
        self, cfg: Config, checkpoint: str, baseline: tuple[Config, str] | None = None, seed: int | None = None
    ) -> None:
        self.protected = ProtectedModel(cfg, checkpoint)
        self.images = TestImages(self.protected.cfg)
        self.correct = self.protected.users.correct()
        shared = on_main_process(secrets.randbits, DRAWN_BITS) if seed is None else seed
        self.nonce = shared.to_bytes(SEED_BYTES, 'big')
        self.sources = [*self.protected.sources, f'seed {seed}']
        self.baseline: BaseSegmentor | None = None
        self.baseline_images = self.images
        if baseline is not None:
            baseline_cfg, baseline_checkpoint = baseline
            self.baseline_images = self.images.for_baseline(baseline_cfg)
            self.baseline = load_model(baseline_cfg, baseline_checkpoint)
            self.sources += [repr(baseline_cfg.to_dict()), hash_file(without_scheme(baseline_checkpoint))]

    @property
    def seed(self) -> int:
        """The seed of the wrong and of the partly right keys."""
        return int.from_bytes(self.nonce, 'big')

    def users(self, wrong_keys: int, known: Sequence[int], draws: int) -> dict[str, User]:
        """Return all users of the evaluation, by their names in the report.

        Args:
            wrong_keys: The number of random wrong keys.
            known: The shares of the key, in percent, that partly right keys know.
            draws: The number of partly right keys for each share.
        """
        make = self.protected.users
        users = {BASELINE: BASELINE_USER} if self.baseline else {}
        users.update({'correct key': self.correct, 'no key': make.without_key()})
        users.update({f'wrong key {n}': make.wrong(self.nonce, n) for n in range(1, wrong_keys + 1)})
        for share in known:
            for n in range(1, draws + 1):
                users[f'{share}% of the key, draw {n}'] = make.partly_right(self.nonce, share, n)
        return users

    @torch.no_grad()
    def predictions(self, users: Iterable[User], index: int) -> Iterator[SegDataSample]:
        """Yield the predictions that users get for the test image ``index``; the baseline's, if any, comes first."""
        users = list(users)
        if users and users[0].kind == 'baseline':
            assert self.baseline is not None, 'only an evaluation with a baseline has that user'
            yield self.baseline.test_step(self.baseline_images.batch(index))[0]
            users = users[1:]
        yield from self.protected.predict_each((user, self.images.batch(index)) for user in users)

    def run(self, folder: Path, wrong_keys: int, known: Sequence[int] = (), draws: int = DRAWS) -> AccessReport:
        """Evaluate all users in one pass over the images; several processes share the images.

        An interrupted evaluation continues if it is run again with the same ``folder``.

        Args:
            folder: An existing folder; it holds the state until the report is written.
            wrong_keys: The number of random wrong keys.
            known: The shares of the key, in percent, that partly right keys know.
            draws: The number of partly right keys for each share.

        Raises:
            OutputError: The folder holds the state of another evaluation.
            DamagedFileError: The state in the folder is damaged.
        """
        rank, processes = get_rank(), get_world_size()
        question = repr([*self.sources, self.images.paths, wrong_keys, known, draws, processes])
        shape = (len(self.users(wrong_keys, known, draws)), 3, len(self.images.classes))
        tally = Tally(folder / f'state_{rank}.json', sha256(question.encode()).hexdigest(), self.nonce, shape)
        self.nonce = on_main_process(lambda: tally.nonce)
        tally.keep_if(self.nonce)
        tally.save()  # marks the folder as that of an evaluation
        users = self.users(wrong_keys, known, draws)
        if self.images.labelled:
            self._count(tally, users, range(rank, len(self.images), processes))
        return self._report(tally.total(), users)

    def _count(self, tally: Tally, users: dict[str, User], mine: range) -> None:
        if is_main_process() and tally.done:
            print(f'continuing after {tally.done} of {len(mine)} images')
        with TaskProgress('testing', len(mine), tally.done, is_main_process()) as progress:
            try:
                for index in mine[tally.done :]:
                    predictions = self.predictions(users.values(), index)
                    tally.add(np.stack([self.images.pixels(prediction) for prediction in predictions]))
                    progress.advance(f'{len(users)} users')
            finally:
                tally.save()

    def _report(self, counts: np.ndarray, users: dict[str, User]) -> AccessReport:
        rows, floor = [], None
        if self.images.labelled:
            rows = [
                AccessRow(who, user.kind, Scores.from_counts(row), user.known)
                for (who, user), row in zip(users.items(), counts, strict=True)
            ]
            floor = Scores.of_most_frequent(counts[0, 2])
        return AccessReport(
            rows=rows,
            floor=floor,
            classes=list(self.images.classes),
            images=len(self.images),
            key_id=self.protected.identity.key_id,
            cipher=self.protected.identity.cipher,
            key_space_bits=round(self.protected.key_space_bits, 1),
            seed=self.seed,
        )
