"""Cells on attacks: what each attack reaches on a protected model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.cells import Cell, Training
from benchmarks.paper.feature_cells import Features
from mmseg_keyprotect.audit.budget import QUERIES

HELD_OUT = 34
"""Number of test images that attacks are measured on: every third test image of CamVid."""

FINE_TUNED = 100
"""Training iterations with the key after a model was bound to it."""


@dataclass(frozen=True)
class FineTuned(Features):
    """A bound model that is fine-tuned with the key, which blurs the traces of the key in the weights."""

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'tuned_{super().name}'

    def make(self) -> tuple[Path, Path]:
        """Bind the model, then fine-tune it."""
        config, checkpoint = super().make()
        lr = 1e-4  # a tenth of the rate that trains from scratch
        options = ['train_cfg.max_iters', 'train_cfg.val_interval', 'default_hooks.checkpoint.interval']
        options = [f'{name}={FINE_TUNED}' for name in options]
        options += [f'load_from={checkpoint}', f'optim_wrapper.optimizer.lr={lr}', f'randomness.seed={self.seed}']
        out = self.work / 'tuned'
        self.call('train.log', 'train', config, '--work-dir', out, '--cfg-options', *options)
        return config, next(out.glob('iter_*.pth'))


Model = Training | Features


@dataclass(frozen=True)
class Audit(Cell):
    """What some attacks reach on a model, measured by ``keyprotect audit``.

    Args:
        of: Cell of the model.
        word: Part of the name of the result file that tells audits of one model apart.
        attacks: Names of the attacks.
        minutes: Time limit of each attack, in minutes.
        steps: Limit of training steps, for attacks that train.
        images: Number of plain images with labels that the attacker has, and of other images that they see encrypted.
        rates: How many learning rates each attack tries that trains.
        public: Whether the attacker has the public model that the protected one was made from.
        queries: Number of crops that attacks may ask the running model about that train on answers.
        own: The model that an attacker trains who steals none; None for one like that of ``of``.
        held_out: Number of test images that the attacks are measured on.
    """

    of: Model | None = None
    word: str = ''
    attacks: tuple[str, ...] = ()
    minutes: float = 0.5
    steps: int = 200
    images: int = 8
    rates: int = 1
    public: bool = False
    queries: int = QUERIES
    own: Training | None = None
    held_out: int = HELD_OUT

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'audit-{self.word}-{self.images}_{self.of.name}'

    def public_file(self) -> Path:
        """Return the checkpoint of the public model: the unprotected one, before it was bound."""
        return self.of.plain()

    def measure(self) -> dict[str, Any]:
        """Run the attacks."""
        out = self.work / 'audit'
        words = ['--attacks', ','.join(self.attacks), '--images', self.images]
        words += ['--minutes', self.minutes, '--steps', self.steps, '--rates', self.rates]
        words += ['--queries', self.queries, '--held-out', self.held_out]
        if self.public:
            words += ['--public-weights', self.public_file()]
        if self.own:
            words += ['--own-model', self.own.source()]
        self.call('audit.log', 'audit', *self.of.model(), *words, '-o', out)
        report = json.loads((out / 'audit.json').read_text())
        names = ('mIoU', 'agreement', 'seconds', 'images', 'queries', 'shares', 'verdict', 'sentence')
        found = {one['attack']: {name: one[name] for name in names} for one in report['findings']}
        return dict(
            of=self.of.name, minutes=self.minutes, steps=self.steps, reference=report['reference'], attacks=found
        )
