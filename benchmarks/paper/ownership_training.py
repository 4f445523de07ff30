"""Cells on marked copies that somebody trains: fine-tuned, or distilled into another model. Both are traced then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.paper.cells import find_config, key_file, load_config
from benchmarks.paper.ownership_attacks import recipients
from benchmarks.paper.ownership_cells import OfOriginal
from benchmarks.paper.tuning import LR_SCALE, plain_tuning
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.ownership import DEFAULT_STRENGTH, mark_weights
from mmseg_keyprotect.ownership.comparison import compare
from mmseg_keyprotect.ownership.trace import score_of
from mmseg_keyprotect.protection.checkpoints import read_checkpoint


@dataclass(frozen=True)
class MarkedCopy(OfOriginal):
    """A cell on the copy of one recipient.

    Args:
        strength: Of the mark, in standard deviations of a tensor.
    """

    strength: float = DEFAULT_STRENGTH

    def marked(self) -> Path:
        """Return the path of the marked copy."""
        path, owner = self.work / 'marked.pth', SecretKey.load(key_file(self.seed))
        (recipient,) = recipients(1)
        copy = mark_weights(read_checkpoint(self.original())[0], owner, recipient, self.strength)
        torch.save(dict(state_dict=copy), path)
        return path

    def traced(self, suspect: Path) -> dict[str, Any]:
        """Return the score of the recipient in a model that was made from the copy."""
        found = compare(read_checkpoint(suspect)[0], read_checkpoint(self.original())[0])
        (recipient,) = recipients(1)
        z = round(score_of(found, SecretKey.load(key_file(self.seed)), recipient), 2)
        return dict(z=z, compared=len(found), aligned=sum(one.aligned for one in found))


@dataclass(frozen=True)
class TunedCopy(MarkedCopy):
    """A marked copy that is fine-tuned without any key, then traced.

    Args:
        iterations: Number of iterations.
        lr_scale: Of the learning rate of the config.
        images: Number of training images. Default: all.
    """

    iterations: int = 300
    lr_scale: float = LR_SCALE
    images: int | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        images = '' if self.images is None else f'-{self.images}-images'
        return f'tuned-copy-{self.strength:g}-{self.iterations}x{self.lr_scale:g}{images}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Mark, fine-tune, trace, and measure the mIoU."""
        config, tuning, out = find_config(self.config), self.work / 'tune.py', self.work / 'tuned'
        plain_tuning(config, self.marked(), self.iterations, self.seed + 1, self.lr_scale, self.images).dump(tuning)
        self.call('train.log', 'train', tuning, '--work-dir', out)
        tuned = out / f'iter_{self.iterations}.pth'
        return dict(mIoU=self.tested(config, tuned), **self.traced(tuned))


@dataclass(frozen=True)
class Distilled(MarkedCopy):
    """A model that learns from the masks of a marked copy alone: the whole schedule, from the start of another seed."""

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'distilled-{self.strength:g}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Mark, predict the training images, train on these masks, trace, and measure the mIoU."""
        config, student, out = find_config(self.config), self.work / 'student.py', self.work / 'student'
        cfg, masks = load_config(config), (self.work / 'masks').resolve()
        images, seen = cfg.train_dataloader.dataset.data_prefix, 'test_dataloader.dataset.data_prefix'
        asked = [f'{seen}.{name}={images[name]}' for name in ('img_path', 'seg_map_path')]
        asked += ['test_evaluator.format_only=True', f'test_evaluator.output_dir={masks}']
        self.call('masks.log', 'test', config, self.marked(), '--work-dir', self.work / 'test', '--cfg-options', *asked)
        cfg.train_dataloader.dataset.data_prefix.seg_map_path = str(masks)
        cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
        cfg.randomness = dict(seed=self.seed + 1)
        cfg.dump(student)
        self.call('train.log', 'train', student, '--work-dir', out)
        checkpoint = next(out.glob('iter_*.pth'))
        return dict(mIoU=self.tested(config, checkpoint, 'tested'), **self.traced(checkpoint))
