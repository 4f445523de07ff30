"""Cells on denial: bound models, fine-tuned with denial, and what users without the key get before and after."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper.audit_cells import HELD_OUT
from benchmarks.paper.cells import Cell, Training
from benchmarks.paper.feature_cells import Features
from mmseg_keyprotect.session.images import spaced

WRONG_KEYS = 30
"""Number of random wrong keys of the final evaluation, none of which the fine-tuning has seen."""

TEST_IMAGES = 101
"""Number of test images of CamVid."""

MANY = 200
"""Number of random wrong keys that the worst is searched among."""

KNOWN, DRAWS = (50, 75, 90), 5
"""Shares of the key that partly right keys know, in percent, and the number of such keys for each share."""


@dataclass(frozen=True)
class Denied(Features):
    """A bound model that ``keyprotect deny`` fine-tunes.

    The best state is chosen on images of another split than ``val``, on which :class:`DeniedAccess` reports, with
    wrong keys of its own.

    Args:
        split: The split whose images choose the best state.
        iterations: Iterations, at most.
        wrong_keys: Number of wrong keys that choose the state.
    """

    split: str = 'test'
    iterations: int = 600
    wrong_keys: int = 8

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'denied-{self.iterations}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Fine-tune, and return the metrics of the start and of the best state on the images that chose it."""
        self.model()
        found = json.loads((self.work / 'denied' / 'denial.json').read_text())
        plain = Training(self.config, self.seed).validated()
        return dict(plain=plain, start=found['start'], best=found['best'], validations=len(found['history']))

    def make(self) -> tuple[Path, Path]:
        """Bind the unprotected model, and fine-tune it."""
        config, checkpoint = super().make()
        out = self.work / 'denied'
        if not (self.work / 'deny.log.done').exists():
            shutil.rmtree(out, ignore_errors=True)  # left by an interrupted run
        words = ['--iterations', self.iterations, '--wrong-keys', self.wrong_keys, '--images', 30]
        words += ['-o', out, '--cfg-options']
        prefix = 'val_dataloader.dataset.data_prefix'
        words += [f'{prefix}.img_path=images/{self.split}', f'{prefix}.seg_map_path=annotations/{self.split}']
        self.call('deny.log', 'deny', config, checkpoint, *words, f'randomness.seed={self.seed}')
        return out / config.name, out / checkpoint.name


@dataclass(frozen=True)
class DeniedAccess(Cell):
    """What users get from a model that was fine-tuned with denial, on ``val``, with 30 wrong keys.

    Args:
        of: Cell of the model.
    """

    of: Denied | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'access_{self.of.name}'

    def measure(self) -> dict[str, Any]:
        """Evaluate the model."""
        return self.access(*self.of.model(), WRONG_KEYS)


@dataclass(frozen=True)
class ManyKeys(Cell):
    """The best of 200 random wrong keys on a model, and partly right keys, on the images that attacks are measured on.

    Args:
        of: Cell of the model, on CamVid.
    """

    of: Features | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'many-keys_{self.of.name}'

    def measure(self) -> dict[str, Any]:
        """Evaluate the model."""
        out = self.work / 'access'
        chosen = ','.join(map(str, spaced(np.arange(TEST_IMAGES), HELD_OUT)))
        words = ['--wrong-keys', MANY, '--known', *KNOWN, '--draws', DRAWS, '--pictures', 0, '-o', out]
        words += ['--cfg-options', f'test_dataloader.dataset.indices=[{chosen}]']
        self.call('access.log', 'evaluate', *self.of.model(), *words)
        report = json.loads((out / 'access.json').read_text())
        kinds = {kind: [row['mIoU'] for row in report['rows'] if row['kind'] == kind] for kind in ('correct', 'wrong')}
        known = {
            share: [row['mIoU'] for row in report['rows'] if row['kind'] == 'partly' and row['known'] == share]
            for share in KNOWN
        }
        return dict(correct=kinds['correct'][0], wrong_keys=kinds['wrong'], known=known, floor=report['floor']['mIoU'])
