"""Cells on encrypted feature maps: the protected models, and what an attacker who has their weights reaches."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS

from benchmarks.paper.cells import Cell, Training, find_config, loading, locks
from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.session.images import spaced

IMAGES = (8, 40, 150)
"""Numbers of labelled images that an attacker has."""

STEPS = 200
"""Training steps of an attack, by default."""

ALL = 10**6
"""More held-out images than any data set has, so that all of them are used."""


@dataclass(frozen=True)
class Features(Cell):
    """A model with encrypted feature maps, encrypted images or both.

    Args:
        places: Words of ``--features``. Empty: only images are encrypted.
        cipher: Words of ``--cipher``.
        feature_cipher: Words of ``--feature-cipher``.
        trained: Whether the model is trained with the key. Default: the unprotected model is bound after training.
        block_size: Block size M of encrypted images, in pixels.
        weights: Checkpoint to bind. Default: that of the :class:`~benchmarks.paper.cells.Training` of this config and
            seed.
    """

    places: tuple[str, ...] = ('all',)
    cipher: tuple[str, ...] = ('none',)
    feature_cipher: tuple[str, ...] = ('shuffle', 'sign')
    trained: bool = False
    block_size: int = 4
    weights: str | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        parts = ['trained' if self.trained else 'bound', *(f'features-{"-".join(self.places)}',) * bool(self.places)]
        parts += [f'{"-".join(self.feature_cipher)}'] if len(self.feature_cipher) == 1 else []
        if self.cipher != ('none',):
            size = f'-b{self.block_size}' if self.block_size != 4 else ''
            parts.append(f'images-{"-".join(self.cipher)}{size}')
        return '_'.join([*parts, super().name])

    @property
    def options(self) -> list[Any]:
        """Options of ``keyprotect protect`` that name the ciphers."""
        words = ['--cipher', *self.cipher, '--block-size', self.block_size]
        if self.places:
            words += ['--features', *self.places, '--feature-cipher', *self.feature_cipher]
        return words

    def measure(self) -> dict[str, Any]:
        """Make the model and evaluate it."""
        return self.access(*self.model())

    def model(self) -> tuple[Path, Path]:
        """Return the paths of the config and the checkpoint; make the model first if it is missing."""
        with locks.setdefault(self.name, Lock()):  # attacks on it may ask for it at the same time
            return self.make()

    def plain(self) -> Path:
        """Return the checkpoint of the unprotected model; train it first if it is missing."""
        return Path(self.weights) if self.weights else Training(self.config, self.seed).checkpoint()

    def make(self) -> tuple[Path, Path]:
        """Train the model with the key, or bind the unprotected model to it."""
        self.work.mkdir(parents=True, exist_ok=True)
        out = self.work / 'model'
        if self.trained:
            config = self.work / f'{self.config}.py'
            stem = ['--stem'] if self.cipher != ('none',) else []
            if not config.exists():
                source = find_config(self.config)
                self.call('protect.log', 'protect', source, *self.options, *stem, '-o', config)
            options = ['--work-dir', out, '--cfg-options', f'randomness.seed={self.seed}']
            self.call('train.log', 'train', config, *options)
            return config, next(out.glob('iter_*.pth'))
        plain = self.plain()
        if not (self.work / 'protect.log.done').exists():
            shutil.rmtree(out, ignore_errors=True)  # left by an interrupted run
        source = find_config(self.config)
        self.call('protect.log', 'protect', source, plain, *self.options, '-o', out)
        return out / f'{self.config}.py', out / plain.name


@dataclass(frozen=True)
class UnKeyAttack(Cell):
    """The mIoU that a learned un-key reaches on a protected model.

    Names of result files begin with ``thief``, the former name of this class.

    Args:
        of: Cell of the model.
        images: Number of labelled images that the attacker has.
        steps: Training steps of the attack. Default: ``STEPS``.
    """

    of: Features | None = None
    images: int = 8
    steps: int | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'thief-{self.images}{f"-{self.steps}" if self.steps else ""}_{self.of.name}'

    def measure(self) -> dict[str, Any]:
        """Run the attack, and measure it on all test images."""
        steps, out = self.steps or STEPS, self.work / 'audit'
        words = ['--attacks', 'un-key', '--images', self.images, '--steps', steps, '--minutes', 60]
        self.call('un_key.log', 'audit', *self.of.model(), *words, '--held-out', ALL, '-o', out)
        found = json.loads((out / 'audit.json').read_text())['findings'][0]
        return dict(images=self.images, steps=steps, seconds=round(found['seconds']), mIoU=found['mIoU'])


@dataclass(frozen=True)
class FewImages(Cell):
    """The unprotected model trained from scratch on few images, for comparison: no weights are stolen.

    Args:
        images: Number of training images, evenly spaced over the training set as an attacker's are.
    """

    images: int = 8

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'images-{self.images}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Train with the schedule of the whole training set, and validate."""
        source = find_config(self.config)
        with loading:
            init_default_scope('mmseg')
            dataset = DATASETS.build(load_quietly(source).train_dataloader.dataset)
        own = spaced(np.arange(len(dataset)), self.images)
        options = [f'randomness.seed={self.seed}', f'train_dataloader.dataset.indices=[{",".join(map(str, own))}]']
        self.call('train.log', 'train', source, '--work-dir', self.work, '--cfg-options', *options)
        return dict(images=self.images, mIoU=self.validated())
