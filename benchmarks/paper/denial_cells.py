"""Cells on denial: bound models, fine-tuned with denial, and what users without the key get before and after."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.paper.cells import Cell, Training
from benchmarks.paper.feature_cells import Features

WRONG_KEYS = 30
"""Number of random wrong keys of the final evaluation, none of which the fine-tuning has seen."""


@dataclass(frozen=True)
class Denied(Features):
    """A bound model that ``keyprotect deny`` fine-tunes.

    The best state is chosen on images of another split than ``val``, on which :class:`DeniedAccess` reports, with four
    wrong keys of its own.

    Args:
        split: The split whose images choose the best state.
        iterations: Iterations, at most.
        hard: Share of the denied images whose users have a wrong key of the iteration before.
    """

    split: str = 'test'
    iterations: int = 400
    hard: float = 0.0

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'denied{"-hard" if self.hard else ""}_{super().name}'

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
        words = [
            '--iterations',
            self.iterations,
            '--hard',
            self.hard,
            '--wrong-keys',
            4,
            '--images',
            30,
            '-o',
            out,
            '--cfg-options',
        ]
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
