"""The cells of the project's tables: each one training or one binding, its result a JSON file that is made once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import torch

from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys import SecretKey

CELLS = Path('docs/results/cells')
CONFIGS = Path('configs')
WORK = Path('work_dirs/reproduce')
CIPHER_WORDS = {'shf': 'shuffle', 'np': 'negative-positive', 'ffx': 'ffx', 'shfnp': 'shuffle + negative-positive'}
WRONG_KEYS = 10
locks: dict[str, Lock] = {}
"""By a cell's name, for what several cells may want at once."""


@dataclass(frozen=True)
class Cell(ABC):
    """One result. Everything is run from the root of a checkout, one thread a process.

    Args:
        config: The name of a configuration, without ``.py``.
        seed: Of the training, and of the key: one key for all cells of a seed.
    """

    config: str
    seed: int = 0

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        return f'{self.config}_seed{self.seed}'

    @property
    def file(self) -> Path:
        """Where the result is."""
        return CELLS / f'{self.name}.json'

    @property
    def work(self) -> Path:
        """Where checkpoints and logs are."""
        return WORK / self.name

    def read(self) -> dict[str, Any] | None:
        """Return the result; None where it is missing."""
        return json.loads(self.file.read_text()) if self.file.exists() else None

    def run(self) -> None:
        """Make the result."""
        self.work.mkdir(parents=True, exist_ok=True)
        result = dict(config=self.config, seed=self.seed, **self.measure(), torch=torch.__version__, threads=1)
        CELLS.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, json.dumps(result) + '\n')

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Run what is to be measured."""

    def call(self, log: str, *words: Any) -> None:
        """Run one of the commands, its output to a file in ``work``, unless that has been done: then there is a mark.

        Raises:
            RuntimeError: It failed.
        """
        variables = dict(os.environ, OMP_NUM_THREADS='1', KEYPROTECT_KEY_FILE=str(key_file(self.seed)))
        done = self.work / f'{log}.done'
        if done.exists():
            return
        command = [sys.executable, '-m', 'mmseg_keyprotect', *map(str, words)]
        with open(self.work / log, 'w') as opened:
            code = subprocess.run(command, env=variables, stdout=opened, stderr=subprocess.STDOUT).returncode
        if code:
            raise RuntimeError(f'{words[0]} failed, see {self.work / log}')
        done.touch()

    def validated(self) -> float:
        """Return the mIoU of the last validation of a training in ``work``."""
        log = sorted(self.work.glob('*/vis_data/scalars.json'))[-1]
        scores = next(line for line in map(json.loads, reversed(log.read_text().splitlines())) if 'mIoU' in line)
        return round(scores['mIoU'], 2)

    def access(self, config: str | Path, checkpoint: Path) -> dict[str, Any]:
        """Return who gets what of a protected model."""
        out = self.work / 'access'
        words = ['--wrong-keys', WRONG_KEYS, '--known', '--pictures', 0, '-o', out]
        self.call('access.log', 'evaluate', config, checkpoint, *words)
        report = json.loads((out / 'access.json').read_text())
        by_kind = {
            kind: [row['mIoU'] for row in report['rows'] if row['kind'] == kind]
            for kind in ('correct', 'none', 'wrong')
        }
        return dict(
            mIoU=by_kind['correct'][0],
            no_key=by_kind['none'][0],
            wrong_keys=by_kind['wrong'],
            floor=report['floor']['mIoU'],
            leak=report['leak'],
            cipher=report['cipher'],
            key_space_bits=report['key_space_bits'],
        )


@dataclass(frozen=True)
class Training(Cell):
    """A model trained with one seed, and who gets what of it."""

    def measure(self) -> dict[str, Any]:
        """Train, and evaluate."""
        checkpoint = self.checkpoint()
        result = dict(iterations=int(checkpoint.stem.split('_')[1]))
        if protection(self.config):
            return {**result, **self.access(self.source(), checkpoint)}
        return {**result, 'mIoU': self.validated()}

    def checkpoint(self) -> Path:
        """Return the trained checkpoint; train where there is none."""
        with locks.setdefault(self.name, Lock()):  # a binding may want it while it is made
            self.work.mkdir(parents=True, exist_ok=True)
            options = ['--work-dir', self.work, '--cfg-options', f'randomness.seed={self.seed}']
            self.call('train.log', 'train', self.source(), *options)
        return next(self.work.glob('iter_*.pth'))

    def model(self) -> tuple[Path, Path]:
        """Return the configuration and the checkpoint."""
        return self.source(), self.checkpoint()

    def source(self) -> Path:
        """Return the configuration's file; one that is not in configs/ is made of the unprotected one."""
        file = find_config(self.config)
        if file is not None:
            return file
        word = protection(self.config)
        bases = [find_config(self.config.replace(f'_{word}', '')), CONFIGS / '_base_' / 'protections' / f'{word}.py']
        file = self.work / f'{self.config}.py'
        self.work.mkdir(parents=True, exist_ok=True)
        replace_file(
            file,
            f'_base_ = {[os.path.relpath(base, self.work) for base in bases]}\n'
            'data_preprocessor = _base_.protection\n'
            'model = dict(data_preprocessor=data_preprocessor)\n',
        )
        return file


@dataclass(frozen=True)
class Binding(Cell):
    """A trained model, bound to a key afterwards by ``tools/protect_checkpoint.py``, beside the plain one.

    Args:
        weights: Its checkpoint; by default that of the Training of the same configuration and seed.
        block_size: M.
    """

    weights: str | None = None
    block_size: int = 4

    @property
    def name(self) -> str:
        """The name of its file and of its folder."""
        return f'bound_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Bind with both borders, compare with the plain model, and evaluate."""
        config = find_config(self.config)
        checkpoint = Path(self.weights) if self.weights else Training(self.config, self.seed).checkpoint()
        result = {}
        for border in ('exact', 'grey'):
            out = self.work / border
            if not (out / 'verification.json').exists():
                shutil.rmtree(out, ignore_errors=True)  # what an interruption has left
            options = ['--border', border, '--block-size', self.block_size, '--verify', '-o', out]
            self.call(f'{border}.log', 'protect', config, checkpoint, *options)
            result[border] = json.loads((out / 'verification.json').read_text())
        return {**result, **self.access(out / config.name, out / checkpoint.name)}


def protection(config: str) -> str:
    """Return the protection's part of a configuration's name, such as ``shfnp-b4``; empty where it has none."""
    return next((part for part in config.split('_') if part.split('-')[0] in CIPHER_WORDS), '')


def find_config(name: str) -> Path | None:
    """Return the file of that name in configs/, or None."""
    return next(CONFIGS.glob(f'*/{name}.py'), None)


def key_file(seed: int) -> Path:
    """Return the key file of a seed, a fresh one where there is none."""
    path = WORK / f'seed{seed}.key'
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        SecretKey.generate().save(path)
    return path
