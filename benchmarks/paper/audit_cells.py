"""The cells of the tables on attacks: what each attacker reaches on a model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.cells import Cell, Training
from benchmarks.paper.feature_cells import Features

HELD_OUT = 34
"""On how many test images attackers are measured: every third of CamVid's."""

FINE_TUNED = 100
"""Iterations of a model that is trained on after it was bound."""


@dataclass(frozen=True)
class FineTuned(Features):
    """A bound model that is trained on with the key, which blurs what binding has left in the weights."""

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        return f'tuned_{super().name}'

    def make(self) -> tuple[Path, Path]:
        """Bind, then train on."""
        config, checkpoint = super().make()
        lr = 1e-4  # a tenth of that from scratch
        options = ['train_cfg.max_iters', 'train_cfg.val_interval', 'default_hooks.checkpoint.interval']
        options = [f'{name}={FINE_TUNED}' for name in options]
        options += [f'load_from={checkpoint}', f'optim_wrapper.optimizer.lr={lr}', f'randomness.seed={self.seed}']
        out = self.work / 'tuned'
        self.call('train.log', 'train', config, '--work-dir', out, '--cfg-options', *options)
        return config, next(out.glob('iter_*.pth'))


Model = Training | Features


@dataclass(frozen=True)
class Audit(Cell):
    """What some attacks reach on a model, by ``tools/audit.py``.

    Args:
        of: The model's cell.
        word: For the name of the file, beside other audits of the same model.
        attacks: Their names.
        minutes: For each of them, at most.
        steps: Of training, for those that train, at most.
        images: That the attacker has, plain with labels, and as many others encrypted.
        public: Whether he has the public model that this one was made from.
    """

    of: Model | None = None
    word: str = ''
    attacks: tuple[str, ...] = ()
    minutes: float = 0.5
    steps: int = 200
    images: int = 8
    public: bool = False

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        return f'audit-{self.word}-{self.images}_{self.of.name}'

    def measure(self) -> dict[str, Any]:
        """Attack."""
        out = self.work / 'audit'
        words = ['--attacks', ','.join(self.attacks), '--images', self.images]
        words += ['--minutes', self.minutes, '--steps', self.steps]
        if self.public:
            words += ['--public-weights', self.of.plain()]
        self.call('audit.log', 'audit', *self.of.model(), *words, '--held-out', HELD_OUT, '-o', out)
        report = json.loads((out / 'audit.json').read_text())
        names = ('mIoU', 'seconds', 'images', 'queries', 'shares', 'verdict', 'sentence')
        found = {one['attack']: {name: one[name] for name in names} for one in report['findings']}
        return dict(
            of=self.of.name, minutes=self.minutes, steps=self.steps, reference=report['reference'], attacks=found
        )
