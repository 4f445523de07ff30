"""Cells on marked copies: what a mark costs, what it survives, and the scores of recipients who got no copy."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner

from benchmarks.paper.cells import Cell, Training, find_config, key_file
from benchmarks.paper.ownership_attacks import ATTACKS, UNSCORED, Copies, recipients
from mmseg_keyprotect.config.view import load_config
from mmseg_keyprotect.keys import SecretKey
from mmseg_keyprotect.ownership import DEFAULT_STRENGTH
from mmseg_keyprotect.ownership.comparison import compare
from mmseg_keyprotect.ownership.trace import score_of
from mmseg_keyprotect.protection.checkpoints import build_model, load_strictly, read_checkpoint

STRENGTHS = (DEFAULT_STRENGTH, 0.003)
"""Strengths of the marks whose survival is measured."""

FOREIGN = 10_000
"""Recipients who got no copy."""


@dataclass(frozen=True)
class OfOriginal(Cell):
    """A cell on the copies of a trained model.

    Args:
        weights: Checkpoint of the model. Default: that of the :class:`Training` of this config and seed.
    """

    weights: str | None = None

    def original(self) -> Path:
        """Return the path of the plain checkpoint."""
        return Path(self.weights) if self.weights else Training(self.config, self.seed).checkpoint()


@dataclass(frozen=True)
class MarkPrice(OfOriginal):
    """A marked copy that is bound to no key, compared with the original.

    Args:
        strength: Of the mark, in standard deviations of a tensor.
        images: Number of test images. Default: all.
    """

    strength: float = DEFAULT_STRENGTH
    images: int | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'marked-{self.strength:g}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Mark and compare."""
        out, records = self.work / 'copy', self.work / 'records'
        if not (self.work / 'protect.log.done').exists():
            for folder in (out, records):
                shutil.rmtree(folder, ignore_errors=True)  # left by an interrupted run
        words = ['--cipher', 'none', '--recipient', 'a', '--strength', self.strength, '--records', records]
        words += ['--verify', *([] if self.images is None else ['--images', self.images])]
        self.call('protect.log', 'protect', find_config(self.config), self.original(), *words, '-o', out)
        return dict(strength=self.strength, **json.loads((out / 'verification.json').read_text()))


@dataclass(frozen=True)
class MarkSurvival(OfOriginal):
    """What is left of a mark after an attack, and of the model.

    Args:
        attack: One of :data:`~benchmarks.paper.ownership_attacks.ATTACKS`. For those of
            :data:`~benchmarks.paper.ownership_attacks.UNSCORED`, the mIoU is not measured.
    """

    attack: str = 'untouched'

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'survival-{"-".join(re.findall("[a-z0-9]+", self.attack))}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Attack, trace, and measure the mIoU."""
        return survival(self.config, self.original(), key_file(self.seed), self.attack, self.attack not in UNSCORED)


@dataclass(frozen=True)
class ForeignScores(OfOriginal):
    """The scores of many recipients who got no copy.

    Args:
        apart: Seed of a model that was trained apart, which is the suspect. Default: the suspect is a marked copy.
    """

    apart: int | None = None

    @property
    def name(self) -> str:
        """Name of the result file and of the work folder."""
        return f'foreign-{"copy" if self.apart is None else f"apart-{self.apart}"}_{super().name}'

    def measure(self) -> dict[str, Any]:
        """Score the recipients."""
        suspect = None if self.apart is None else Training(self.config, self.apart).checkpoint()
        return foreign(self.original(), key_file(self.seed), suspect)


def survival(config: str, checkpoint: Path, key: Path, attack: str, scored: bool) -> dict[str, Any]:
    """Attack copies with marks of every strength; return the least z of their recipients, and the mIoU if wanted."""
    original, owner = read_checkpoint(checkpoint)[0], SecretKey.load(key)
    count, change = ATTACKS[attack]
    result: dict[str, Any] = dict(attack=attack, copies=count)
    for strength in STRENGTHS:
        attacked = change(Copies(original, owner, strength))
        found = compare(attacked, original)
        z = min(score_of(found, owner, recipient) for recipient in recipients(count))
        result[f'z_{strength:g}'] = round(z, 2)
        if strength == DEFAULT_STRENGTH:
            result.update(compared=len(found), aligned=sum(one.aligned for one in found))
            if scored:
                result['mIoU'] = _score(Config(load_config(find_config(config))), attacked)
    return result


def _score(cfg: Config, state: dict[str, torch.Tensor]) -> float:
    """Return the mIoU of some weights on all test images."""
    model = build_model(cfg)
    load_strictly(model, state)
    loader = Runner.build_dataloader(dict(cfg.test_dataloader, num_workers=0, persistent_workers=False), seed=0)
    evaluator = Evaluator(cfg.test_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    with torch.no_grad():
        for batch in loader:
            evaluator.process(model.test_step(batch), batch)
    return round(float(evaluator.evaluate(len(loader.dataset))['mIoU']), 2)


@torch.no_grad()
def foreign(checkpoint: Path, key: Path, suspect: Path | None) -> dict[str, Any]:
    """Return how many tensors of a suspect are aligned, and the highest z of the recipients who got no copy."""
    copies = Copies(read_checkpoint(checkpoint)[0], SecretKey.load(key), STRENGTHS[-1])
    found = compare(copies.take(1)[0] if suspect is None else read_checkpoint(suspect)[0], copies.original)
    scores = torch.tensor([score_of(found, copies.key, f'foreign-{number}') for number in range(FOREIGN)])
    return dict(
        recipients=FOREIGN,
        compared=len(found),
        aligned=sum(one.aligned for one in found),
        highest=round(scores.max().item(), 2),
        mean=round(scores.mean().item(), 3),
        deviation=round(scores.std().item(), 3),
    )
