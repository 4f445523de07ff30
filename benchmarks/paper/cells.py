"""Cells: the single experiments behind the tables of results.

A cell trains a model, or binds a trained one to a key. Its result is a JSON file in docs/results/cells, and a cell
whose file exists is not run again.
"""

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
from mmengine.config import Config

from mmseg_keyprotect.config.view import load_quietly
from mmseg_keyprotect.files import replace_file
from mmseg_keyprotect.keys import SecretKey

CELLS = Path('docs/results/cells')
CONFIGS = Path('configs')
WORK = Path('work_dirs/reproduce')
CIPHER_WORDS = {'shf': 'shuffle', 'np': 'negative-positive', 'ffx': 'ffx', 'shfnp': 'shuffle + negative-positive'}
WRONG_KEYS = 10
"""Number of random wrong keys for each protected model."""

locks: dict[str, Lock] = {}
"""One lock for each model that several cells need, by the name of its cell."""

loading = Lock()
"""Held while a cell loads a configuration or builds from it: MMEngine's imports on the way are not thread-safe."""


@dataclass(frozen=True)
class Cell(ABC):
    """One experiment. It runs from the root of a checkout, and every process uses one thread.

    Args:
        config: Name of a config, without ``.py``.
        seed: Seed of the training. It also selects the key: all cells of a seed share one.
    """

    config: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'{self.config}_seed{self.seed}'

    @property
    def file(self) -> Path:
        """Path of the result file."""
        return CELLS / f'{self.name}.json'

    @property
    def work(self) -> Path:
        """Folder of checkpoints and logs."""
        return WORK / self.name

    def read(self) -> dict[str, Any] | None:
        """Return the result, or None if the cell was not run."""
        return json.loads(self.file.read_text()) if self.file.exists() else None

    def run(self) -> None:
        """Run the experiment and write the result file."""
        self.work.mkdir(parents=True, exist_ok=True)
        result = dict(config=self.config, seed=self.seed, **self.measure(), torch=torch.__version__, threads=1)
        if torch.cuda.is_available():
            result['device'] = torch.cuda.get_device_name()
        CELLS.mkdir(parents=True, exist_ok=True)
        replace_file(self.file, json.dumps(result) + '\n')

    @abstractmethod
    def measure(self) -> dict[str, Any]:
        """Run the experiment and return its result as plain JSON types."""

    def call(self, log: str, *words: Any, module: str = 'mmseg_keyprotect') -> None:
        """Run a ``keyprotect`` command, or that of another module, in a process of its own, once.

        A finished command leaves the file ``LOG.done`` in the work folder, and is not run again.

        Args:
            log: Name of the file in the work folder that receives the output.
            words: The command and its arguments.
            module: The module whose command it is.

        Raises:
            RuntimeError: The command failed.
        """
        done = self.work / f'{log}.done'
        if done.exists():
            return
        variables = dict(os.environ, OMP_NUM_THREADS='1', KEYPROTECT_KEY_FILE=str(key_file(self.seed)))
        command = [sys.executable, '-m', module, *map(str, words)]
        with open(self.work / log, 'w') as opened:
            code = subprocess.run(command, env=variables, stdout=opened, stderr=subprocess.STDOUT).returncode
        if code:
            raise RuntimeError(f'Expected `{module} {words[0]}` to succeed, but it failed; see {self.work / log}.')
        done.touch()

    def validated(self) -> float:
        """Return the mIoU, in percent, of the last validation in the work folder."""
        log = sorted(self.work.glob('*/vis_data/scalars.json'))[-1]
        scores = next(line for line in map(json.loads, reversed(log.read_text().splitlines())) if 'mIoU' in line)
        return round(scores['mIoU'], 2)

    def tested(self, config: Path, checkpoint: Path, word: str = 'test') -> float:
        """Return the mIoU, in percent, that ``keyprotect test`` measures; the work folder gets its logs in ``word``."""
        out = self.work / word
        self.call(f'{word}.log', 'test', config, checkpoint, '--work-dir', out)
        log = sorted(out.glob('*/*.json'))[-1]
        return round(json.loads(log.read_text())['mIoU'], 2)

    def access(self, config: str | Path, checkpoint: Path, wrong_keys: int | None = None) -> dict[str, Any]:
        """Return the mIoU, in percent, that users with the correct key, no key and wrong keys get."""
        out = self.work / 'access'
        words = ['--wrong-keys', wrong_keys or WRONG_KEYS, '--known', '--pictures', 0, '-o', out]
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
    """A trained model, and the mIoU that users with and without the key get."""

    def measure(self) -> dict[str, Any]:
        """Train and evaluate."""
        checkpoint = self.checkpoint()
        result = dict(iterations=int(checkpoint.stem.split('_')[1]))
        if protection(self.config):
            return {**result, **self.access(self.source(), checkpoint)}
        return {**result, 'mIoU': self.validated()}

    def checkpoint(self) -> Path:
        """Return the trained checkpoint; train first if it is missing."""
        with locks.setdefault(self.name, Lock()):  # a binding may ask for it at the same time
            self.work.mkdir(parents=True, exist_ok=True)
            options = ['--work-dir', self.work, '--cfg-options', f'randomness.seed={self.seed}']
            self.call('train.log', 'train', self.source(), *options)
        return next(self.work.glob('iter_*.pth'))

    def model(self) -> tuple[Path, Path]:
        """Return the paths of the config and the checkpoint."""
        return self.source(), self.checkpoint()

    def source(self) -> Path:
        """Return the path of the config; if configs/ lacks it, derive it from the unprotected config."""
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
    """A trained model that ``keyprotect protect`` binds to a key, compared with the plain model.

    Args:
        weights: Checkpoint of the plain model. Default: that of the :class:`Training` of this config and seed.
        block_size: Block size M, in pixels.
    """

    weights: str | None = None
    block_size: int = 4

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'bound_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Bind with both borders, compare each with the plain model, and evaluate."""
        config = find_config(self.config)
        checkpoint = Path(self.weights) if self.weights else Training(self.config, self.seed).checkpoint()
        result = {}
        for border in ('exact', 'grey'):
            out = self.work / border
            if not (out / 'verification.json').exists():
                shutil.rmtree(out, ignore_errors=True)  # left by an interrupted run
            options = ['--border', border, '--block-size', self.block_size, '--verify', '-o', out]
            self.call(f'{border}.log', 'protect', config, checkpoint, *options)
            result[border] = json.loads((out / 'verification.json').read_text())
        return {**result, **self.access(out / config.name, out / checkpoint.name)}


def protection(config: str) -> str:
    """Return the part of a config's name that names the protection, such as ``shfnp-b4``; empty if there is none."""
    return next((part for part in config.split('_') if part.split('-')[0] in CIPHER_WORDS), '')


def load_config(path: str | Path) -> Config:
    """Return a configuration; cells that run in threads load theirs one at a time."""
    with loading:
        return load_quietly(path)


def find_config(name: str) -> Path | None:
    """Return the path of a config in configs/ by its name, or None."""
    return next(CONFIGS.glob(f'*/{name}.py'), None)


def key_file(seed: int) -> Path:
    """Return the key file of a seed; generate a key if the file is missing."""
    path = WORK / f'seed{seed}.key'
    if not path.exists():
        WORK.mkdir(parents=True, exist_ok=True)
        SecretKey.generate().save(path)
    return path
