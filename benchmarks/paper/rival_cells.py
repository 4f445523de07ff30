"""Cells of the leaderboard: published protections beside those of this project, on one model."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.paper.audit_cells import HELD_OUT, Audit
from benchmarks.paper.cells import Cell, Training, find_config, locks
from benchmarks.paper.feature_cells import STEPS, Features
from mmseg_keyprotect.files import replace_file

IMAGENET = Path('data/weights/mobilenet_v2_imagenet.pth')
"""The public model: the backbone that the owner began with."""

SIBLING_STEPS = 30
"""Training iterations between the model and its public sibling: a tenth of its schedule."""


@dataclass(frozen=True)
class Passported(Training):
    """The model trained with passport layers."""

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'passports_{super().name}'

    def source(self) -> Path:
        """Return the path of a config with the head of :mod:`benchmarks.paper.rivals.deepipr`; write it if missing."""
        file = self.work / f'{self.config}.py'
        self.work.mkdir(parents=True, exist_ok=True)
        base = os.path.relpath(find_config(self.config), self.work)
        replace_file(
            file,
            f"_base_ = ['{base}']\n"
            "custom_imports = dict(imports=['benchmarks.paper.rivals'], allow_failed_imports=False)\n"
            f"model = dict(decode_head=dict(type='PassportHead', passport_seed={self.seed}))\n",
        )
        return file


@dataclass(frozen=True)
class Sibling(Training):
    """A public model that differs from the protected one by a tenth of the schedule, head and all.

    It is the protected model after more training. The protected model after a tenth more than a public one would be as
    far from that one.
    """

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'sibling_{super().name}'

    def checkpoint(self) -> Path:
        """Return the checkpoint; train it first if it is missing."""
        plain = Training(self.config, self.seed).checkpoint()
        with locks.setdefault(self.name, Lock()):
            self.work.mkdir(parents=True, exist_ok=True)
            options = ['train_cfg.max_iters', 'train_cfg.val_interval', 'default_hooks.checkpoint.interval']
            options = [f'{name}={SIBLING_STEPS}' for name in options]
            options += [f'load_from={plain}', f'randomness.seed={self.seed + 100}']
            self.call('train.log', 'train', self.source(), '--work-dir', self.work, '--cfg-options', *options)
        return next(self.work.glob('iter_*.pth'))


@dataclass(frozen=True)
class Attacked(Cell):
    """One attack on a rival's protection of the model.

    Args:
        rival: Name of the method.
        attack: What is measured.
        images: Number of labelled images that the attacker has.
        public: Which public model the attacker has: ``imagenet``, ``sibling`` or none.
    """

    rival: str = ''
    attack: str = 'access'
    images: int = 8
    public: str = ''

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        beside = f'-{self.public}' if self.public else ''
        return f'rival-{self.rival}-{self.attack}{beside}-{self.images}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Run the attack."""
        training = Passported if self.rival == 'deepipr' else Training
        words = [*training(self.config, self.seed).model(), '--rival', self.rival, '--attack', self.attack]
        words += ['--images', self.images, '--steps', STEPS, '--held-out', HELD_OUT]
        if self.public:
            words += ['--public', public_file(self.public, self)]
        out = self.work / 'result.json'
        self.call('rival.log', *words, '-o', out, module='benchmarks.paper.rivals')
        return dict(rival=self.rival, attack=self.attack, images=self.images) | json.loads(out.read_text())


@dataclass(frozen=True)
class BesideImageNet(Audit):
    """Attacks of the audit on a model that was bound to a key, beside the public backbone that it began with."""

    def public_file(self) -> Path:
        """Return the checkpoint of the public backbone."""
        return IMAGENET


@dataclass(frozen=True)
class Chained(Cell):
    """The keys of images and of feature maps, found beside a public model and used together.

    Args:
        of: Cell of the model.
        public: Which public model the attacker has: ``imagenet`` or ``sibling``.
    """

    of: Features | None = None
    public: str = 'imagenet'

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'chained-{self.public}_{self.of.name}'

    def measure(self) -> dict[str, Any]:
        """Run the attacks."""
        out = self.work / 'result.json'
        words = [*self.of.model(), '--images', 8, '--held-out', HELD_OUT, '--public', public_file(self.public, self)]
        self.call('chain.log', *words, '-o', out, module='benchmarks.paper.rivals.bindings')
        return json.loads(out.read_text())


@dataclass(frozen=True)
class Costs(Cell):
    """What every protection costs at run time, measured in one process.

    Args:
        bound: Cells of the models that are bound to a key.
    """

    bound: tuple[Features, ...] = ()

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'rival-costs_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Time the models."""
        out = self.work / 'result.json'
        words = [*Training(self.config, self.seed).model(), '--passports', *Passported(self.config, self.seed).model()]
        for of in self.bound:
            words += ['--bound', of.name, *of.model()]
        self.call('costs.log', *words, '-o', out, module='benchmarks.paper.rivals.costs')
        return json.loads(out.read_text())


def public_file(word: str, cell: Cell) -> Path:
    """Return the checkpoint of a public model, ``imagenet`` or ``sibling``."""
    return IMAGENET if word == 'imagenet' else Sibling(cell.config, cell.seed).checkpoint()
