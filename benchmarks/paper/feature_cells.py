"""The cells of the tables on encrypted feature maps: models with them, and what a thief of their weights gets."""

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

from benchmarks.paper.cells import Cell, Training, find_config, locks
from mmseg_keyprotect.audit.open_target import spaced
from mmseg_keyprotect.config.view import load_quietly

IMAGES = (8, 40, 150)
"""How many labelled images the thief has."""

STEPS = 200
"""How long he trains."""

ALL = 10**6
"""More held-out images than there are."""


@dataclass(frozen=True)
class Features(Cell):
    """A model with encrypted feature maps, or images: a trained one bound to the key, or one trained with it.

    Args:
        places: As for ``--features``; empty for none, where images alone are encrypted.
        cipher: Of images, as for ``--cipher``.
        feature_cipher: As for ``--feature-cipher``.
        trained: Whether it is trained with the key; else it is the unprotected Training of that seed, bound.
        block_size: M, of encrypted images.
        weights: The checkpoint to bind, in the place of that Training's.
    """

    places: tuple[str, ...] = ('all',)
    cipher: tuple[str, ...] = ('none',)
    feature_cipher: tuple[str, ...] = ('shuffle', 'sign')
    trained: bool = False
    block_size: int = 4
    weights: str | None = None

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        parts = ['trained' if self.trained else 'bound', *(f'features-{"-".join(self.places)}',) * bool(self.places)]
        parts += [f'{"-".join(self.feature_cipher)}'] if len(self.feature_cipher) == 1 else []
        if self.cipher != ('none',):
            size = f'-b{self.block_size}' if self.block_size != 4 else ''
            parts.append(f'images-{"-".join(self.cipher)}{size}')
        return '_'.join([*parts, super().name])

    @property
    def options(self) -> list[str]:
        """The options of ``tools/protect_config.py`` and ``tools/protect_checkpoint.py``."""
        words = ['--cipher', *self.cipher, '--block-size', self.block_size]
        if self.places:
            words += ['--features', *self.places, '--feature-cipher', *self.feature_cipher]
        return words

    def measure(self) -> dict[str, Any]:
        """Make the model, and evaluate it."""
        return self.access(*self.model())

    def model(self) -> tuple[Path, Path]:
        """Return the configuration and the checkpoint; make them where there are none."""
        with locks.setdefault(self.name, Lock()):  # its thieves may want it while it is made
            return self.make()

    def plain(self) -> Path:
        """Return the checkpoint of the unprotected model."""
        return Path(self.weights) if self.weights else Training(self.config, self.seed).checkpoint()

    def make(self) -> tuple[Path, Path]:
        """Make the model."""
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
            shutil.rmtree(out, ignore_errors=True)  # what an interruption has left
        source = find_config(self.config)
        self.call('protect.log', 'protect', source, plain, *self.options, '-o', out)
        return out / f'{self.config}.py', out / plain.name


@dataclass(frozen=True)
class Thief(Cell):
    """What a learned un-key reaches on a model, with some labelled images.

    Args:
        of: The model's cell.
        images: How many.
        steps: How long he trains; by default ``STEPS``.
    """

    of: Features | None = None
    images: int = 8
    steps: int | None = None

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        return f'thief-{self.images}{f"-{self.steps}" if self.steps else ""}_{self.of.name}'

    def measure(self) -> dict[str, Any]:
        """Attack; he is measured on all test images."""
        steps, out = self.steps or STEPS, self.work / 'audit'
        words = ['--attacks', 'un-key', '--images', self.images, '--steps', steps, '--minutes', 60]
        self.call('un_key.log', 'audit', *self.of.model(), *words, '--held-out', ALL, '-o', out)
        found = json.loads((out / 'audit.json').read_text())['findings'][0]
        return dict(images=self.images, steps=steps, seconds=round(found['seconds']), mIoU=found['mIoU'])


@dataclass(frozen=True)
class FewImages(Cell):
    """The unprotected model trained on some images alone: what the thief could do without stealing.

    Args:
        images: How many, evenly spaced over the training set, as the thief's are.
    """

    images: int = 8

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        return f'images-{self.images}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Train with the schedule of the whole training set, and validate."""
        source = find_config(self.config)
        with locks.setdefault('images', Lock()):  # the first import of the data sets is not for two threads
            init_default_scope('mmseg')
            dataset = DATASETS.build(load_quietly(source).train_dataloader.dataset)
        own = spaced(np.arange(len(dataset)), self.images)
        options = [f'randomness.seed={self.seed}', f'train_dataloader.dataset.indices=[{",".join(map(str, own))}]']
        self.call('train.log', 'train', source, '--work-dir', self.work, '--cfg-options', *options)
        return dict(images=self.images, mIoU=self.validated())
